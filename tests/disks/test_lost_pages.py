"""Power cuts by a model of the pages of files: what was promised is there, and the run goes on."""

import os
import tempfile
from functools import lru_cache
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ..profiles import examples
from .lost_pages import PROFILE, State, cut, recorded, small_spools, start_of_the_machine
from .promises import Promises

pytestmark = pytest.mark.slow
PROGRAMS = 2
"""The number of programs where tests have the usual number of examples."""
# In memory, syncing takes no time.
FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
MOMENTS = st.floats(0, 1, exclude_max=True)
SEEDS = st.integers(0, 1 << 32)


@lru_cache
def started(seed: int, maps: bool) -> list[State]:
    """Return the states of a run by its first process."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        return recorded(Path(folder), Promises(seed, PROFILE), acts=60, maps=maps)


@lru_cache
def resumed(seed: int, maps: bool) -> tuple[Promises, list[State]]:
    """Return the states of a run by its second process, after the power was cut, and what the first one left."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder, start_of_the_machine(2):
        random, promises = Random(seed), Promises(seed, PROFILE)
        path = Path(folder) / "run-0001.db"
        cut(started(seed, maps), random.random(), random, path)
        with small_spools():
            promises.found |= promises.check(path)
            promises.least |= promises.found
        return promises, recorded(path, promises, acts=60, maps=maps)


def check(states: list[State], promises: Promises, moment: float, pages: int) -> None:
    """Cut the power at a moment; check the run and resume it."""
    process = max(promises.found, default=0) + 1
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder, small_spools(), start_of_the_machine(3):
        path = Path(folder) / "run-0001.db"
        state = cut(states, moment, Random(pages), path, is_durable=process > 1)
        least = promises.least if state.least is None else {process: state.least}
        ended = process if state.ended else 0
        Promises(promises.seed, PROFILE, least, promises.found, ended).check_resuming(path)


@given(program=SEEDS, maps=st.booleans(), moment=MOMENTS, pages=SEEDS)
def test_lost_pages(program: int, maps: bool, moment: float, pages: int) -> None:
    """Whichever pages a power cut takes, all that was promised is there, without a hole, and the run goes on."""
    seed = program % examples(PROGRAMS)
    check(started(seed, maps), Promises(seed, PROFILE), moment, pages)


@given(program=SEEDS, maps=st.booleans(), moment=MOMENTS, pages=SEEDS)
def test_lost_pages_of_a_resumed_run(program: int, maps: bool, moment: float, pages: int) -> None:
    """The same holds if the power is cut again, while a second process writes the run."""
    promises, states = resumed(program % examples(PROGRAMS), maps)
    check(states, promises, moment, pages)
