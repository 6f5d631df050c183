"""Digests of the code and the arguments of a call: equal for the same code, different for each change that counts."""

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from crystallize._core.code_digest import CallDigest, digest_call
from tests.core.made_programs import Program

SEEDS = st.integers(0, 2**32)


def digest_of(program: Program) -> CallDigest:
    with program.loaded() as task:
        return digest_call(task, (), {})


class TestLaws:
    @given(SEEDS)
    def test_the_same_code_has_the_same_digest(self, seed: int) -> None:
        """A program that is loaded again has the same digests, also if its lines have moved."""
        program = Program.drawn(Random(seed))
        first = digest_of(program)

        assert () == first.unknown
        assert first == digest_of(program) == digest_of(replace(program, comment_lines=7))
        assert [*first.code] == [*digest_of(program).code]

    @given(SEEDS)
    def test_a_change_that_the_task_reaches_changes_the_digest(self, seed: int) -> None:
        random = Random(seed)
        program = Program.drawn(random)
        first = digest_of(program)

        assert first != digest_of(program.changed(random, program.reached()))

    @given(SEEDS)
    def test_other_changes_do_not(self, seed: int) -> None:
        random = Random(seed)
        program = Program.drawn(random)
        others = {unit.name for unit in program.units} - program.reached()
        if others:
            assert digest_of(program) == digest_of(program.changed(random, others))
