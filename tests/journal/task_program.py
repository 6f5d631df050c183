"""A program of tasks, coroutines, retries and reuse, to be killed and started again in a process of its own."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from crystallize import FrozenContext, Journal, step
from crystallize.runs import list_runs

folders: list[Path] = []
"""The folder of the run. A list whose name is not in capitals, as its content is no part of the code."""


class Tries:
    """How often something was tried, over all processes: each second try fails."""

    @classmethod
    def check(cls, name: str) -> None:
        """Raise TimeoutError on the first try of a name, the third, and so on."""
        with (folders[-1] / f"{name}.tries").open("ab") as file:
            file.write(b"x")
            file.flush()
            if file.tell() % 2:
                raise TimeoutError(name)


def tell(*words: object) -> None:
    """Tell who kills this process that a call has come here."""
    print(*words, flush=True)


def load(ctx: FrozenContext[Any], size: int) -> list[int]:
    """Write a key and an artifact."""
    tell("load")
    ctx["rows"] = [*range(size)]
    ctx.artifacts.add("rows.txt", b"x" * size)
    return [*range(size)]


def epoch(ctx: FrozenContext[Any], model: str, number: int) -> float:
    """Record a point and write a key."""
    tell("epoch", model, number)
    ctx.record(f"loss {model}", 1 / (number + 1))
    # So a run with another bias takes over the steps of model "a" alone.
    bias = 0 if model == "a" else ctx["bias"]
    ctx[f"weights {model} {number}"] = sum(ctx["rows"]) + number + bias
    return 1 / (number + 1)


def fit(ctx: FrozenContext[Any], model: str) -> float:
    """Run tasks, and a step of a `with` block."""
    tell("fit", model)
    ctx[f"begun {model}"] = True
    losses = [ctx.run(epoch, model, number) for number in range(4)]
    with ctx.step("sum") as total:
        tell("sum", model)
        total[f"total {model}"] = sum(losses)
    return sum(losses)


@step("upload-{name}", retries=2, on=TimeoutError)
def upload(ctx: FrozenContext[Any], name: str) -> int:
    """Fail now and then, having done some of the work."""
    tell("upload", name)
    ctx.record("uploads", len(ctx.metrics["uploads"]))
    ctx[f"address {name}"] = f"https://example.org/{name}" if name == "one" else f"{name}-{ctx['bias']}"
    ctx.run(load_part, name)
    Tries.check(name)
    return len(name)


def load_part(ctx: FrozenContext[Any], name: str) -> None:
    """Be a task within an attempt."""
    ctx.artifacts.add(f"{name}.txt", name.encode())


async def ask(ctx: FrozenContext[Any], number: int) -> int:
    """Wait between two writes."""
    tell("ask", number)
    ctx[f"question {number}"] = number
    await asyncio.sleep(0.001)
    ctx.record(f"asked {number}", number)
    ctx[f"answer {number}"] = number * 2 + (ctx["bias"] if number % 2 else 0)
    return number * 2


@step(retries=1)
async def ask_again(ctx: FrozenContext[Any], number: int) -> int:
    """Fail now and then after a wait."""
    tell("ask again", number)
    ctx[f"second answer {number}"] = number
    await asyncio.sleep(0.001)
    Tries.check(f"ask {number}")
    return number


async def talk(ctx: FrozenContext[Any]) -> list[int]:
    """Await several tasks at the same time."""
    return await asyncio.gather(
        *(ctx.arun(ask, number) for number in range(4)), *(ctx.arun(ask_again, number) for number in range(4))
    )


def main(ctx: FrozenContext[Any]) -> list[Any]:
    """Run all of it; return all results."""
    results: list[Any] = [ctx.run(load, 5)]
    results += [ctx.run(fit, model) for model in "abde"]
    results += [ctx.run(upload, name) for name in ("one", "two", "three")]
    results += asyncio.run(ctx.arun(talk))
    return [*results, ctx.run(fit, "c")]


def run_in(folder: Path, bias: int, reuse: str | bool) -> None:
    """Start the run of a folder, or go on with it. It takes steps over from the run in a file."""
    folders.append(folder)
    found = list_runs(folder)
    with Journal.resume(found[0]) if found else Journal.start(folder, "run", reuse=reuse) as journal:
        ctx = journal.context(FrozenContext, {"bias": bias})
        results = main(ctx)
        if "results" not in ctx:
            ctx["results"] = results
        assert results == ctx["results"]


if __name__ == "__main__":
    run_in(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else False)
