"""The paused garbage collector."""

import gc
from contextlib import suppress

import pytest

from crystallize._base.collector import collector_paused


@pytest.mark.parametrize("was_enabled", [True, False])
def test_paused(was_enabled: bool) -> None:
    """Within the block the collector is off, and afterwards as it was before, also after an error."""
    if not was_enabled:
        gc.disable()
    try:
        with suppress(KeyError), collector_paused():
            assert not gc.isenabled()
            raise KeyError
        assert was_enabled == gc.isenabled()
    finally:
        gc.enable()
