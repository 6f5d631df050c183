"""Runs with values and points of many kinds."""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, SecretStr

from crystallize import FrozenContext, Journal, Run, load_run


class Opaque:
    """What no JSON has."""


class Train(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    lr: float
    token: SecretStr
    model: Opaque
    accuracy: float
    weights: np.ndarray


def started(folder: Path, name: str = "digits") -> tuple[Journal, FrozenContext]:
    journal = Journal.start(folder, name)
    return journal, journal.context(FrozenContext)


def recorded(folder: Path, *values: Any, **tags: Any) -> Run[Any]:
    """Return a run with one series."""
    journal, ctx = started(folder)
    for value in values:
        ctx.record("seen", value, tags=tags)
    journal.close()
    return load_run(journal.path)


def written(folder: Path, **values: Any) -> Run[Any]:
    """Return a run with these values."""
    with Journal.start(folder, "digits") as journal:
        journal.context(FrozenContext, values)
    return load_run(journal.path)
