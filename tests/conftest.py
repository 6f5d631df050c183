"""What all tests begin with."""

import os
import signal
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec

import pytest

if find_spec("hypothesis") is not None:  # not where branches are tried on Ray, or a notebook is run
    from hypothesis import settings

    from tests.profiles import EXAMPLES

    for name, count in EXAMPLES.items():
        settings.register_profile(name, deadline=None, max_examples=count)  # a machine that is busy is no fault
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))


def pytest_configure() -> None:
    # A shell has SIGINT ignored by what it runs in the background, and so by all that is started from here.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _each_module_is_outlined_once() -> Iterator[None]:
    """Whatever schemas stubs are made for, they begin with the same outlines, which take seconds."""
    from crystallize._stubs.class_outline import outline

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("crystallize._stubs.generate.outline", cache(outline))
        yield
