"""The lines that the start and the end of a step log."""

import asyncio
import logging
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr

from crystallize import FrozenContext, LoggingContext, fan_out


def _fit(ctx: FrozenContext, epochs: int) -> int:
    return epochs


async def _ask(ctx: FrozenContext) -> int:
    return 1


def _without_times(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [re.sub(r"[\d.]+ (µs|ms|s)\b", "TIME", line) for line in caplog.messages]


def test_start_and_end_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A step logs one line at INFO when it starts and one when it ends, also one of a function or a coroutine."""
    caplog.set_level(logging.INFO, "mine")
    ctx = FrozenContext({"lr": 0.1}, logger=logging.getLogger("mine"))
    with ctx.step("load") as step, step.step("parse"):
        pass
    ctx.run(_fit, 3)
    asyncio.run(ctx.arun(_ask))

    names = ["load", "load/parse", "_fit-3", "_ask"]
    starts, ends = ({name: f"Step {name} {text}" for name in names} for text in ("started", "finished, took TIME"))
    inner = [starts["load"], starts["load/parse"], ends["load/parse"], ends["load"]]
    assert [*inner, *(lines[name] for name in names[2:] for lines in (starts, ends))] == _without_times(caplog)
    assert {("mine", logging.INFO)} == {(record.name, record.levelno) for record in caplog.records}


def test_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The line of a step that failed has the error, on one line and with secrets masked."""
    caplog.set_level(logging.INFO, "crystallize")
    ctx = FrozenContext({"token": SecretStr("hunter2-secret")})
    with pytest.raises(OSError, match="hunter2"), ctx.step("load"):
        raise OSError("refused\nhunter2-secret")

    assert ["Step load started", "Step load failed after TIME: OSError: refused **********"] == _without_times(caplog)


def test_steps_of_branches_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The steps in branches log nothing, since there may be thousands; the step around them does."""
    caplog.set_level(logging.INFO, "crystallize")

    def task(ctx: LoggingContext, item: int) -> None:
        with ctx.step("inner"):
            pass

    with FrozenContext().step("sweep") as step, ThreadPoolExecutor(2) as pool:
        fan_out(step, task, range(3), executor=pool)

    assert ["Step sweep started", "Step sweep finished, took TIME"] == _without_times(caplog)
