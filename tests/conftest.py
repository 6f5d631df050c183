"""What all tests begin with."""

import os
import signal
from importlib.util import find_spec

if find_spec("hypothesis") is not None:  # not where branches are tried on Ray, or a notebook is run
    from hypothesis import settings

    from tests.profiles import EXAMPLES

    # A machine that is busy is no fault.
    settings.register_profile("short", deadline=None, max_examples=EXAMPLES)
    settings.register_profile("long", deadline=None, max_examples=20 * EXAMPLES)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))


def pytest_configure() -> None:
    # A shell has SIGINT ignored by what it runs in the background, and so by all that is started from here.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
