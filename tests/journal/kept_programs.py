"""Random programs of steps within steps, some of which fail, and are caught by a step around them, or tried again."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from crystallize import FrozenContext, step


class Died(BaseException):
    """The process dies here, as far as the run is concerned."""


class Failed(Exception):
    """A step failed."""


class Node(NamedTuple):
    """A step: what it does, and how it ends."""

    name: str
    kind: str
    """"run", "with", or "tried": a task whose first attempt fails."""
    acts: tuple["str | Node", ...]
    """What it does: the names of keys, metrics and artifacts, and steps."""
    fails: bool
    catches: bool
    """Whether it goes on if a step within it fails."""


def drawn(random: Random, depth: int = 3, name: str = "") -> Node:
    """Return a random step."""
    acts: list[str | Node] = []
    for number in range(random.randint(1, 4)):
        if depth and random.random() < 0.6:
            acts.append(drawn(random, depth - 1, f"{name}{number}"))
        elif name:  # work outside any step is there again when the run is resumed
            acts.append(random.choice(("key", "metric", "artifact")))
    kind = random.choice(("run", "run", "with", "with", "tried"))
    return Node(f"{kind}{name}", kind, (*acts,), random.random() < 0.4, random.random() < 0.8)


class Content(NamedTuple):
    """All that is in a context, in its order."""

    values: list[tuple[str, Any, str | None]]
    points: list[tuple[Any, str | None]]
    artifacts: list[tuple[str, bytes, str | None]]
    records: list[Any]

    @classmethod
    def of(cls, ctx: FrozenContext[Any]) -> "Content":
        """Return the content of a context."""
        points: Iterable[Any] = ctx.metrics.series("metric") if "metric" in ctx.metrics else []
        return cls(
            [(key, ctx[key], ctx.provenance.writer(key)) for key in ctx],
            [(point.value, point.step) for point in points],
            [(made.name, made.data, made.step) for made in ctx.artifacts],
            [*ctx.provenance.steps],
        )

    def of_steps(self, counts: Callable[[str], bool]) -> "Content":
        """Return the content that belongs to no step, or to a step that counts."""

        def does(name: str | None) -> bool:
            return name is None or counts(name)

        return Content(
            [value for value in self.values if does(value[2])],
            [point for point in self.points if does(point[1])],
            [made for made in self.artifacts if does(made[2])],
            [record for record in self.records if does(record.name)],
        )

    def regardless_of_order(self) -> Any:
        """Return it without order, times, and the numbers of attempts, of which another process may need more."""

        def known(name: str | None) -> str:
            return re.sub(r"/attempt-\d+", "/attempt", str(name))

        return (
            {key: (value, known(step)) for key, value, step in self.values},
            sorted((value, known(step)) for value, step in self.points),
            {(name, data, known(step)) for name, data, step in self.artifacts},
            {(known(record.name), record.error) for record in self.records},
        )


@dataclass
class Process:
    """A process that runs a program, and may die."""

    deadly: int | None = None
    """The number of the act before which it dies."""
    at_death: Callable[[FrozenContext[Any]], object] = lambda ctx: None
    done: int = 0
    opened: list[str] = field(default_factory=list)
    """The names of the steps that were opened, without those within attempts."""
    kinds: dict[str, str] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    tries: dict[str, int] = field(default_factory=dict)

    def run(self, root: FrozenContext[Any], program: Node) -> None:
        """Run a program."""
        self._root = root
        self._act(root, program, "")

    def keeps(self, name: str) -> bool:
        """Return whether a process that goes on finds a step done, or as a part of one that is done."""
        around, is_reopened = "", False
        for part in name.split("/"):
            around = f"{around}/{part}" if around else part
            kind = self.kinds.get(around, "attempt")
            if around in self.finished and not (kind == "with" and is_reopened):
                return True
            is_reopened |= kind in ("run", "tried")
        return False

    def _act(self, ctx: FrozenContext[Any], node: Node, path: str) -> None:
        for number, act in enumerate(node.acts):
            self.done += 1
            if self.done == self.deadly:
                self.at_death(self._root)
                raise Died
            if isinstance(act, Node):
                try:
                    self._open(ctx, act, f"{path}/{act.name}" if path else act.name)
                except Failed:
                    if not node.catches:
                        raise
            elif act == "key":
                ctx[f"{node.name}.{number}"] = number
            elif act == "metric":
                ctx.record("metric", f"{node.name}.{number}")
            else:
                ctx.artifacts.add(f"{node.name}.{number}", str(number).encode())
        if node.fails and path:
            raise Failed

    def _open(self, ctx: FrozenContext[Any], node: Node, path: str) -> None:
        self.kinds[path] = node.kind
        if node.kind == "with":
            if not ctx.provenance.finished(path):
                with ctx.step(node.name) as inner:
                    self._called(inner, node, path)
        else:

            def task(inner: FrozenContext[Any]) -> None:
                self._called(inner, node, path)

            ctx.run(step(node.name, retries=int(node.kind == "tried"))(task))
        self.finished.add(path)

    def _called(self, ctx: FrozenContext[Any], node: Node, path: str) -> None:
        if node.kind != "tried":
            self.opened.append(path)
            return self._act(ctx, node, path)
        self.tries[path] = self.tries.get(path, 0) + 1
        self._act(ctx, node, f"{path}/attempt-{self.tries[path]}")
        if self.tries[path] == 1:
            raise Failed
        return None
