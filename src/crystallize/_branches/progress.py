"""The progress bar of a `fan_out`."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from threading import Lock

_log = logging.getLogger("crystallize")


@contextmanager
def progress_bar(progress: bool, total: int | None, done: int) -> Iterator[Callable[[], object]]:
    """Show how many items have ended; yield the function that advances the bar by one item, in any thread.

    `total` is None if it is not known.
    """
    if progress and find_spec("tqdm") is None:
        _log.warning("progress is shown by tqdm, which is not installed: pip install 'crystallize-context[progress]'")
    if not progress or find_spec("tqdm") is None:
        yield int
        return
    from tqdm.auto import tqdm  # an extra, imported only when it is used

    lock = Lock()

    def advance() -> None:
        with lock:
            bar.update()

    with tqdm(total=total, initial=done, unit="branch") as bar:
        yield advance
