from typing import Any

from ..io import DataCatalog
from ..pipeline import Pipeline

class AbstractRunner:
    def run(
        self, pipeline: Pipeline, catalog: DataCatalog, *, only_missing_outputs: bool = False
    ) -> dict[str, Any]: ...

class SequentialRunner(AbstractRunner): ...

class ThreadRunner(AbstractRunner):
    def __init__(self, max_workers: int | None = None) -> None: ...
