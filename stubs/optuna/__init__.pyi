from typing import Any

from . import logging as logging
from . import samplers as samplers

class TrialPruned(Exception): ...

class FrozenTrial:
    number: int
    params: dict[str, Any]
    intermediate_values: dict[int, float]

class Study:
    directions: list[Any]
    metric_names: list[str] | None
    def get_trials(self, deepcopy: bool = True) -> list[FrozenTrial]: ...

class Trial:
    number: int
    params: dict[str, Any]
    study: Study
    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...
    def report(self, value: float, step: int) -> None: ...

# The tests read many parts of a study.
def create_study(**options: Any) -> Any: ...
