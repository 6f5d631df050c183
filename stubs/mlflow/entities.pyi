from typing import Any

class Metric:
    key: str
    value: float
    timestamp: int
    step: int
    def __init__(self, key: str, value: float, timestamp: int, step: int) -> None: ...

class Param:
    key: str
    value: str
    def __init__(self, key: str, value: str) -> None: ...

class RunInfo:
    run_id: str
    run_name: str
    status: str
    start_time: int
    end_time: int | None

class RunData:
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]

class Run:
    info: RunInfo
    data: RunData
    def to_dictionary(self) -> dict[str, Any]: ...

class FileInfo:
    path: str
    is_dir: bool

class Experiment:
    experiment_id: str
    name: str
