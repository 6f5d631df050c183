"""Branches against a plain interpreter that does the work of each where it was forked.

Whatever is done twice, lost, late or out of order: a context is as if all had been done there, one after another.
"""

import pickle
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from typing_extensions import TypedDict

from crystallize import (
    Branch,
    ContextMutationError,
    Delta,
    DivergentRetryError,
    ForeignDeltaError,
    FrozenContext,
    LoggingContext,
    MergeConflictError,
    Metric,
    MetricSchema,
    StepClosedError,
    fork,
    merge,
)
from crystallize._base.file_calls import POSIX
from crystallize._branches import merged_packs
from crystallize._core import ordered_log

from ..profiles import examples
from .sending_ways import Way, opened_way, pickled

# Random programs open steps that they do not use.
pytestmark = pytest.mark.filterwarnings("ignore::crystallize.UnusedStepWarning")

SETTINGS = settings(
    max_examples=examples(40), stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
INITIAL = {"zero": 0, "list": [0]}


class Tags(TypedDict):
    kind: str


class Measured(MetricSchema):
    m = Metric(int, tags=Tags)
    n = Metric(int, tags=Tags)


class Op(NamedTuple):
    """One thing to do: `what` is write, record, add, read, ask, step or fork."""

    what: str
    name: str
    value: Any = None
    inner: "tuple[Op, ...]" = ()


NOTHING: st.SearchStrategy[tuple[Op, ...]] = st.just(())


def drawn(
    what: str, names: Sequence[str] = ("",), values: Sequence[Any] = (None,), inner: Any = NOTHING
) -> st.SearchStrategy[Op]:
    return st.builds(Op, st.just(what), st.sampled_from(names), st.sampled_from(values), inner)


def ops(depth: int) -> st.SearchStrategy[tuple[Op, ...]]:
    """Things to do one after another; the names of what is written once are given later."""
    op = (
        drawn("write", values=["plain", "list"])
        | drawn("record", ["m", "n"])
        | drawn("add")
        | drawn("read", ["zero", "list"])
        | drawn("ask", ["absent"])
    )
    if depth:
        inner = ops(depth - 1)
        op |= drawn("step", ["fit", "b0", "b1"], inner=inner) | drawn("fork", inner=inner)
    return st.lists(op, max_size=5).map(tuple)


def named(program: tuple[Op, ...], numbers: Iterator[int]) -> tuple[Op, ...]:
    """Give each key, artifact and branch a name of its own, and each point a value of its own."""
    made = []
    for op in program:
        at = next(numbers)
        if op.what == "write":
            made.append(op._replace(name=f"key{at}", value=[at] if op.value == "list" else at))
        elif op.what == "record":
            made.append(op._replace(value=at))
        elif op.what == "add":
            made.append(op._replace(name=f"file{at}", value=str(at).encode()))
        elif op.what == "fork":
            made.append(op._replace(name=f"b{at}", inner=named(op.inner, numbers)))
        else:
            made.append(op._replace(inner=named(op.inner, numbers)))
    return tuple(made)


def written(program: tuple[Op, ...]) -> set[str]:
    """The keys and files that a program writes, also in its steps and branches."""
    own = {op.name for op in program if op.what in ("write", "add")}
    return own.union(*(written(op.inner) for op in program))


# The plain interpreter.


@dataclass
class Notes:
    """What was done in one step."""

    path: str | None
    reads: dict[str, None] = field(default_factory=dict)
    absent: dict[str, None] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    points: Counter[str] = field(default_factory=Counter)
    files: list[str] = field(default_factory=list)

    def record(self) -> tuple[Any, ...]:
        lists = [list(self.reads), list(self.absent), self.writes, dict(self.points), self.files]
        return (self.path, *lists)


@dataclass
class Log:
    """What was done in one context, in order; what a branch did stands where it was forked."""

    path: str | None = None
    facts: "list[tuple[str, Any] | Log]" = field(default_factory=list)
    uses: Counter[str] = field(default_factory=Counter)

    def open(self, outer: Notes, name: str) -> Notes:
        path = name if outer.path is None else f"{outer.path}/{name}"
        self.uses[path] += 1
        return Notes(path if self.uses[path] == 1 else f"{path}#{self.uses[path]}")

    def do(self, op: Op, notes: Notes) -> "Log | None":
        """Do one thing; of a fork return the log of the branch."""
        if op.what == "write":
            self.facts.append(("key", (op.name, op.value, notes.path)))
            notes.writes.append(op.name)
        elif op.what == "record":
            self.facts.append((op.name, (op.value, {"kind": "x"}, notes.path)))
            notes.points[op.name] += 1
        elif op.what == "add":
            self.facts.append(("file", (op.name, op.value, notes.path)))
            notes.files.append(op.name)
        elif op.what == "read":
            notes.reads[op.name] = None
        elif op.what == "ask":
            notes.absent[op.name] = None
        elif op.what == "step":
            inner = self.open(notes, op.name)
            self.do_all(op.inner, inner)
            self.facts.append(("step", inner.record()))
        else:
            path = op.name if notes.path is None else f"{notes.path}/{op.name}"
            self.uses[path] += 1
            branch = Log(path, uses=Counter([path]))
            branch_notes = Notes(path)
            branch.do_all(op.inner, branch_notes)
            branch.facts.append(("step", branch_notes.record()))
            self.facts.append(branch)
            return branch
        return None

    def do_all(self, program: tuple[Op, ...], notes: Notes) -> None:
        for op in program:
            self.do(op, notes)

    def read(self, merged: set[str] | None = None) -> Iterator[tuple[str, Any]]:
        """All facts in order: those of all branches, or of the merged ones."""
        for fact in self.facts:
            if not isinstance(fact, Log):
                yield fact
            elif merged is None or fact.path in merged:
                yield from fact.read()


def expected(log: Log, merged: set[str] | None = None) -> dict[str, list[Any]]:
    facts = [("key", (key, value, None)) for key, value in INITIAL.items()]
    found: dict[str, list[Any]] = {"key": [], "file": [], "step": [], "m": [], "n": []}
    for kind, fact in [*facts, *log.read(merged)]:
        found[kind].append(fact)
    return found


def seen(ctx: FrozenContext[Any]) -> dict[str, list[Any]]:
    """All that can be read of a context."""
    keys = [(key, value, ctx.provenance.writer(key)) for key, value in ctx.items()]
    steps = [
        (step.name, list(step.reads), list(step.absent), list(step.writes), dict(step.points), list(step.artifacts))
        for step in ctx.provenance.steps
    ]
    series = {name: [tuple(point) for point in ctx.metrics.series(name)] for name in ("m", "n")}
    # The ways to look at one thing agree.
    assert len(ctx) == len(keys)
    assert list(INITIAL) == list(ctx.provenance.inputs)
    for name, points in series.items():
        values = tuple(value for value, _, _ in points)
        assert (values, len(values)) == (ctx.metrics[name], len(ctx.metrics.series(name)))
        assert not values or values[-1] == ctx.metrics.series(name).last
    assert all(ctx.provenance.finished(step[0]) for step in steps)
    assert len(ctx.artifacts) == len(list(ctx.artifacts))
    files = [(artifact.name, artifact.data, artifact.step) for artifact in ctx.artifacts]
    return {"key": keys, "file": files, "step": steps, **series}


# The real thing, on workers that may do anything but lie.

Out: TypeAlias = "list[tuple[Branch[Any], Op]]"


class Schedule:
    """Decides who runs when, how often, and whether what is sent goes by a way or stays in memory."""

    def __init__(self, random: Random, way: Way = pickled) -> None:
        self.random = random
        self.way = way

    def may_send(self, value: Any) -> Any:
        return self.way(value) if self.random.random() < 0.4 else value

    def attempt(self, branch: Branch[Any], program: tuple[Op, ...]) -> Delta:
        """Do the work of a branch once, with all the branches in it."""
        child = self.may_send(branch).open()
        self.run(child, program)
        delta: Delta = self.may_send(child.delta())
        return delta

    def run(self, ctx: FrozenContext[Any], program: tuple[Op, ...]) -> None:
        """Run a program on a context, with its branches at any time until its end."""
        out: Out = []
        on_the_way: list[Delta] = []
        merged: set[str] = set()

        def tick() -> None:
            while (out or on_the_way) and self.random.random() < 0.5:
                if on_the_way and self.random.random() < 0.5:
                    # Any that is on the way comes, and maybe once more later.
                    delta = self.random.choice(on_the_way)
                    if self.random.random() < 0.7:
                        on_the_way.remove(delta)
                    merge(ctx, delta)
                    merged.add(delta.branch)
                elif out:
                    branch, op = self.random.choice(out)
                    delta = self.attempt(branch, op.inner)
                    # An attempt that is not sent is lost with its worker.
                    if self.random.random() < 0.7:
                        on_the_way.append(delta)

        do(ctx, program, out, tick)
        for branch, op in self.random.sample(out, len(out)):
            if branch.name not in merged or self.random.random() < 0.6:
                merge(ctx, self.attempt(branch, op.inner))


def nothing() -> None:
    pass


def do(ctx: FrozenContext[Any], program: tuple[Op, ...], out: Out, tick: Any = nothing) -> None:
    """Do a program through a handle, and put its branches out."""
    for op in program:
        if op.what == "write":
            ctx[op.name] = op.value
        elif op.what == "record":
            ctx.record(op.name, op.value, {"kind": "x"})
        elif op.what == "add":
            ctx.artifacts.add(op.name, op.value)
        elif op.what == "read":
            ctx[op.name]
        elif op.what == "ask":
            assert op.name not in ctx
        elif op.what == "step":
            with ctx.step(op.name) as step:
                do(step, op.inner, out, tick)
        else:
            out.append((fork(ctx, op.name), op))
        tick()


METRICS = st.sampled_from([None, Measured])
PROGRAMS = ops(2).map(lambda program: named(program, count(100)))


def check_two_schedules(
    program: tuple[Op, ...], metrics: type[MetricSchema] | None, first: Random, second: Random, way: Way = pickled
) -> None:
    log = Log()
    log.do_all(program, Notes(None))
    for random in (first, second):
        with pytest.MonkeyPatch.context() as patch:
            pack_soon(patch, random.choice([2, 3, merged_packs.MOST]))
            ctx = FrozenContext(INITIAL, metrics=metrics)
            Schedule(random, way).run(ctx, program)
            assert expected(log) == seen(ctx)
            assert expected(log) == seen(pickle.loads(pickle.dumps(ctx)))


def pack_soon(patch: pytest.MonkeyPatch, most: int) -> None:
    """Let as few merged branches as this be packed."""
    patch.setattr(merged_packs, "MOST", most)
    patch.setattr(ordered_log, "FEWEST", 2)


two_schedules = given(program=PROGRAMS, metrics=METRICS, first=st.randoms(use_true_random=False), second=st.randoms())


@settings(max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@two_schedules
def test_any_two_schedules_give_the_same(**drawn: Any) -> None:
    """However branches are scheduled, the context is as if all had been done one after another."""
    check_two_schedules(**drawn)


@pytest.mark.parametrize("name", ["file", "broadcast"])
def test_any_two_schedules_give_the_same_by_any_way(tmp_path: Path, name: str) -> None:
    """As above, where a parent's values are sent once for all its branches."""
    with opened_way(name, tmp_path) as way:

        @settings(max_examples=examples(10), deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @two_schedules
        def check(**drawn: Any) -> None:
            check_two_schedules(**drawn, way=way)

        check()
    # Windows removes no file that is mapped, as by this process itself.
    assert not POSIX or [] == list(tmp_path.iterdir())


@pytest.mark.long
@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@two_schedules
def test_many_schedules_give_the_same(**drawn: Any) -> None:
    """As above, over as many as take minutes."""
    check_two_schedules(**drawn)


RECORDING = drawn("fork", inner=ops(0).map(lambda program: (*program, Op("record", "m"))))


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    programs=st.lists(RECORDING, min_size=2, max_size=4).map(lambda program: named(tuple(program), count(100))),
    data=st.data(),
)
def test_attempts_whose_inner_branches_end_in_any_order(programs: tuple[Op, ...], data: st.DataObject) -> None:
    """Attempts at one branch are the same in whichever order its own branches were merged into it."""
    log = Log()
    log.do_all((Op("fork", "outer", None, programs),), Notes(None))
    ctx = FrozenContext(INITIAL)
    branch = fork(ctx, "outer")
    for _ in range(3):
        child = branch.open()
        out: Out = []
        do(child, programs, out)
        for inner, op in data.draw(st.permutations(out)):
            grandchild = inner.open()
            do(grandchild, op.inner, [])
            merge(child, grandchild.delta())
        merge(ctx, child.delta())
    assert expected(log) == seen(ctx)


class BranchMachine(RuleBasedStateMachine):
    """A parent with branches that are out, against the interpreter restricted to what is merged."""

    metrics: type[MetricSchema] | None = None
    way = "pickle"

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(TemporaryDirectory()))
        self.opened_way = self.stack.enter_context(opened_way(self.way, folder))

    def teardown(self) -> None:
        self.stack.close()

    @initialize(random=st.randoms(use_true_random=False))
    def make(self, random: Random) -> None:
        self.schedule = Schedule(random, self.opened_way)
        self.ctx: FrozenContext[Any] = FrozenContext(INITIAL, metrics=self.metrics)
        self.log, self.root = Log(), Notes(None)
        self.numbers = count(100)
        self.opened: list[tuple[ExitStack, LoggingContext[Any], Notes]] = []
        self.out: list[tuple[Branch[Any], Op]] = []
        self.on_the_way: list[tuple[Delta, Op]] = []
        self.merged: set[str] = set()
        self.held = set(INITIAL)

    def handle(self, data: st.DataObject) -> tuple[FrozenContext[Any], Notes]:
        at = data.draw(st.integers(0, len(self.opened)), label="handle")
        return (self.ctx, self.root) if at == 0 else self.opened[at - 1][1:]

    @rule(data=st.data(), program=ops(0))
    def do_something_oneself(self, data: st.DataObject, program: tuple[Op, ...]) -> None:
        handle, notes = self.handle(data)
        program = named(program, self.numbers)
        do(handle, program, [])
        self.log.do_all(program, notes)
        self.held |= written(program)

    @rule(data=st.data(), name=st.sampled_from(["fit", "tune"]))
    def open_step(self, data: st.DataObject, name: str) -> None:
        if len(self.opened) < 3:
            handle, notes = self.handle(data)
            stack = ExitStack()
            self.opened.append((stack, stack.enter_context(handle.step(name)), self.log.open(notes, name)))

    @precondition(lambda self: bool(self.opened))
    @rule(data=st.data())
    def close_step(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.opened) - 1), label="step")
        stack, step, notes = self.opened.pop(at)
        stack.close()
        self.log.facts.append(("step", notes.record()))
        with pytest.raises(StepClosedError):
            fork(step, "late")

    @rule(data=st.data(), program=ops(1), conflict=st.booleans())
    def fork_a_branch(self, data: st.DataObject, program: tuple[Op, ...], conflict: bool) -> None:
        handle, notes = self.handle(data)
        program = named(program, self.numbers)
        # One of a few keys, or files, that other branches may write too.
        shared = [Op("write", f"shared{at}", at) for at in range(2)] + [Op("add", "shared", b"")]
        free = [op for op in shared if op.name not in self.held]
        if conflict and free:
            program = (*program, data.draw(st.sampled_from(free), label="shared"))
        op = Op("fork", f"b{next(self.numbers)}", None, program)
        self.out.append((fork(handle, op.name), op))
        self.log.do(op, notes)

    def pick(self, data: st.DataObject) -> int:
        return data.draw(st.integers(0, len(self.out) - 1), label="branch")

    @precondition(lambda self: bool(self.out))
    @rule(data=st.data())
    def try_a_branch(self, data: st.DataObject) -> None:
        branch, op = self.out[self.pick(data)]
        self.on_the_way.append((self.schedule.attempt(branch, op.inner), op))

    @precondition(lambda self: bool(self.out))
    @rule(data=st.data())
    def lose_an_attempt(self, data: st.DataObject) -> None:
        branch, op = self.out[self.pick(data)]
        do(branch.open(), op.inner[:1], [])

    @precondition(lambda self: bool(self.on_the_way))
    @rule(data=st.data(), again=st.booleans())
    def deliver(self, data: st.DataObject, again: bool) -> None:
        at = data.draw(st.integers(0, len(self.on_the_way) - 1), label="delta")
        delta, op = self.on_the_way[at] if again else self.on_the_way.pop(at)
        if delta.branch in self.merged:
            merge(self.ctx, delta)
        elif clashing := written(op.inner) & self.held:
            with pytest.raises(MergeConflictError) as caught:
                merge(self.ctx, delta)
            assert caught.value.name in clashing
        else:
            merge(self.ctx, delta)
            self.merged.add(delta.branch)
            self.held |= written(op.inner)

    @precondition(lambda self: bool(self.merged))
    @rule(data=st.data(), op=st.sampled_from([Op("write", "more", 1), Op("record", "m", 1), Op("add", "more", b"")]))
    def try_a_merged_branch_otherwise(self, data: st.DataObject, op: Op) -> None:
        merged = [pair for pair in self.out if pair[0].name in self.merged]
        branch, fork_op = data.draw(st.sampled_from(merged), label="branch")
        with pytest.raises(DivergentRetryError):
            merge(self.ctx, self.schedule.attempt(branch, (*fork_op.inner, op)))

    @precondition(lambda self: bool(self.out))
    @rule(data=st.data())
    def fork_again(self, data: st.DataObject) -> None:
        """A branch that is not merged is forked again, with the parent's values by now."""
        at = self.pick(data)
        branch, op = self.out[at]
        if "/" not in branch.name and not written(op.inner) & self.held:
            again = fork(self.ctx, branch.name)
            assert set(again.open()) >= set(branch.open())
            self.out[at] = again, op

    @precondition(lambda self: bool(self.out))
    @rule(data=st.data())
    def write_what_the_parent_held(self, data: st.DataObject) -> None:
        child = self.out[self.pick(data)][0].open()
        for key in child:
            with pytest.raises(ContextMutationError):
                child[key] = 1

    @precondition(lambda self: bool(self.out))
    @rule(data=st.data())
    def merge_where_it_was_not_forked(self, data: st.DataObject) -> None:
        branch, _ = self.out[self.pick(data)]
        child = branch.open()
        inner = fork(child, "inner").open().delta()
        with pytest.raises(ForeignDeltaError):
            merge(self.ctx, inner)
        with pytest.raises(ForeignDeltaError):
            merge(child, branch.open().delta())

    @precondition(lambda self: not self.opened)
    @rule()
    def go_on_with_a_copy(self) -> None:
        """A copy of the parent knows the forks, and takes what the parent would have taken."""
        self.ctx = pickle.loads(pickle.dumps(self.ctx))

    @rule()
    def use_the_name_of_a_branch(self) -> None:
        """A step that is named as a branch counts on."""
        for branch, _ in self.out[:1]:
            if "/" not in branch.name:
                do(self.ctx, (Op("step", branch.name),), [])
                self.log.do(Op("step", branch.name), self.root)

    @invariant()
    def all_is_as_if_done_in_order(self) -> None:
        if hasattr(self, "ctx"):
            assert expected(self.log, self.merged) == seen(self.ctx)


class MeasuredBranchMachine(BranchMachine):
    """The same with declared metrics."""

    metrics = Measured


class PackingBranchMachine(BranchMachine):
    """The same with branches that are packed soon."""

    @initialize(random=st.randoms(use_true_random=False))
    def make(self, random: Random) -> None:
        super().make(random)
        self.patch = pytest.MonkeyPatch()
        pack_soon(self.patch, 2)

    def teardown(self) -> None:
        self.patch.undo()
        super().teardown()


class FileBranchMachine(BranchMachine):
    """The same where the parent's values and the deltas are in files."""

    way = "file"


class BroadcastBranchMachine(BranchMachine):
    """The same where an executor brings the parent's values."""

    way = "broadcast"


class KeptBranchMachine(BranchMachine):
    """The same where an executor keeps the parent's values in its workers."""

    way = "kept"


TestBranches = BranchMachine.TestCase
TestBranches.settings = SETTINGS
TestMeasuredBranches = MeasuredBranchMachine.TestCase
TestMeasuredBranches.settings = SETTINGS
TestPackingBranches = PackingBranchMachine.TestCase
TestPackingBranches.settings = SETTINGS
TestBranchesByFile = FileBranchMachine.TestCase
TestBranchesByFile.settings = settings(SETTINGS, max_examples=examples(20))
TestBranchesByBroadcast = BroadcastBranchMachine.TestCase
TestBranchesByBroadcast.settings = settings(SETTINGS, max_examples=examples(20))
TestBranchesByKept = KeptBranchMachine.TestCase
TestBranchesByKept.settings = settings(SETTINGS, max_examples=examples(20))
