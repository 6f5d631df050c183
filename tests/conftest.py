"""What all tests begin with."""

import importlib.metadata
import os
import signal
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

from crystallize._journal import environment

if find_spec("hypothesis") is not None:  # not where branches are tried on Ray, or a notebook is run
    from hypothesis import settings

    from tests.profiles import EXAMPLES

    # A machine that is busy is no fault.
    settings.register_profile("short", deadline=None, max_examples=EXAMPLES)
    settings.register_profile("long", deadline=None, max_examples=20 * EXAMPLES)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))


class Package(NamedTuple):
    """The part of an `importlib.metadata.Distribution` that a journal reads."""

    name: str
    version: str
    record: str

    def read_text(self, _: str) -> str:
        return self.record


@cache
def packages() -> list[Package]:
    found = importlib.metadata.distributions()
    return [Package(package.name, package.version, package.read_text("RECORD") or "") for package in found]


def distributions() -> Iterator[Package]:
    return iter(packages())


def pytest_configure() -> None:
    # Each journal reads the metadata of all installed packages when it starts, which takes 50 ms.
    environment.distributions = distributions  # type: ignore[assignment,attr-defined]  # imported there
    # A shell has SIGINT ignored by what it runs in the background, and so by all that is started from here.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
