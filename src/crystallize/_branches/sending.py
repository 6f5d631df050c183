"""How the contents of a parent reach the workers: once for all branches of a call, or with each branch."""

import errno
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from .._base import folder_address
from .._base.buffer_file import BufferWriter
from .._base.exchange_folder import exchange_folder
from .._base.scratch_folder import scratch_folder
from .._core.context import FrozenContext, T_co, state_of
from ..errors import TravelError
from .base_file import BaseWriter, ExchangePlace, address_of
from .branch import Branch, base_of, checked, redirected
from .engines import broadcaster, is_local, is_sending, release
from .fork_base import ForkBase
from .packed_base import ParcelToken, pack
from .shared_base import SharedBase, close_shared


class Sender(NamedTuple):
    """How the branches of a call find the contents of their parent."""

    base: ForkBase | None = None
    address: bytes = b""
    """Where workers find the base."""
    bring: Any = None
    """An argument for each task, by which it gets the base from its executor."""

    def sent(self, branch: Branch[T_co]) -> Branch[T_co]:
        """Return a branch as it is sent."""
        base = base_of(branch)
        return branch if base is None or base is not self.base else redirected(branch, self.address)


@contextmanager
def sending(executor: Executor, branches: Sequence[Branch[Any]]) -> Iterator[Sender]:
    """Bring the values of the branches' parent to the workers, and clean up at the end.

    Raises:
        TravelError: The schema, the metrics or the logger cannot be sent, or the disk is full.
    """
    first = branches[0] if branches else None
    base = None if first is None else base_of(first)
    if first is None or base is None or isinstance(executor, ThreadPoolExecutor):
        yield Sender()
    elif is_local(executor):
        by_value = not isinstance(executor, ProcessPoolExecutor)
        with base_in_folder(base, _folder_for(base), first.name, by_value=by_value) as address:
            yield Sender(base, address)
    elif is_sending(executor) or hasattr(executor, "broadcast"):
        sender = _broadcast(base, first.name, broadcaster(executor))
        try:
            yield sender
        finally:
            release(sender.bring)
    else:
        yield Sender()


def _broadcast(base: ForkBase, branch: str, broadcast: Any) -> Sender:
    writer = BaseWriter()
    index = pack(base, branch, writer.add, by_value=True)
    if writer.is_small or broadcast is None:
        return Sender(base, address_of(writer.whole(index)))
    parcel = writer.parcel(index)
    return Sender(base, address_of(ParcelToken(parcel.token)), broadcast(parcel))


@contextmanager
def base_in_folder(base: ForkBase, parent: Path, branch: str, *, by_value: bool) -> Iterator[bytes]:
    """Write a base into a file, if it is large, in a folder that is removed at the end; yield its address."""
    with ExitStack() as stack:
        try:
            folder: Path | OSError = stack.enter_context(exchange_folder(parent))
        except OSError as error:  # a small base needs no folder
            folder = error
        writer = BaseWriter(partial(_new_file, folder))
        try:
            index = pack(base, branch, writer.add, by_value=by_value)
            source = writer.finished(index)
        except OSError as error:
            # EDQUOT is not known everywhere.
            is_full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None))
            steps = ["make room there" if is_full else "see to that folder"]
            steps += [] if base.objects else ["set TMPDIR to another folder"]
            reason = f"the parent's values cannot be written to a file in {parent} ({error}); {', or '.join(steps)}"
            raise TravelError(branch, reason) from error
        finally:
            writer.close()
        place = None if isinstance(folder, OSError) else ExchangePlace(str(folder), _artifacts_of(base))
        yield address_of(source, place)


def _new_file(folder: Path | OSError) -> BufferWriter:
    if isinstance(folder, OSError):
        raise folder
    return BufferWriter(folder / "base")


def _artifacts_of(base: ForkBase) -> Any:
    """Return the address of the temporary folder for artifacts; None if a run has a folder for these."""
    return folder_address.address_of(scratch_folder()) if base.objects is None else None


def _folder_for(base: ForkBase) -> Path:
    """Return the folder of the run, or else the temporary folder."""
    if base.objects is not None:
        return base.objects.path.parent
    from tempfile import gettempdir  # its import takes long

    return Path(gettempdir())


@contextmanager
def shared_base(ctx: FrozenContext[T_co], folder: str | PathLike[str] | None = None) -> Iterator[SharedBase[T_co]]:
    """Write the values of a context to a file, which workers on this machine open read-only.

    A branch that is forked with it is pickled without these values. A worker maps the file once, and unpickles a key
    when a branch reads it: arrays, Arrow tables and frames are not copied. Large values come back through files as
    well. At the end of the `with` block, all of these files are removed. So merge the branches in it.

    Nobody else can read the files, which contain secrets in clear text. Classes of the script itself are sent by name.

    Args:
        ctx: The parent context, or a step of it.
        folder: The folder of the file; by default the folder of the run, and without a journal the temporary folder.

    Returns:
        A context manager, which returns the argument `base` of `fork`.

    Raises:
        TravelError: The schema, the metrics or the logger cannot be sent, or the file cannot be written.

    Example:
        >>> import pickle
        >>> ctx = FrozenContext({"rows": list(range(100_000))})
        >>> with shared_base(ctx) as base:
        ...     child = pickle.loads(pickle.dumps(fork(ctx, "fold-3", base=base))).open()  # in a worker
        ...     child["size"] = len(child["rows"])
        ...     merge(ctx, pickle.loads(pickle.dumps(child.delta())))
        >>> ctx["size"]
        100000
    """
    base = state_of(checked(ctx)).dispatcher.lock.run(partial(ForkBase.of, ctx))
    parent = _folder_for(base) if folder is None else Path(folder)
    with base_in_folder(base, parent, "shared_base", by_value=False) as address:
        shared: SharedBase[T_co] = SharedBase(base, address)
        try:
            yield shared
        finally:
            close_shared(shared)
