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

class RunData:
    params: dict[str, str]
    metrics: dict[str, float]

class Run:
    info: RunInfo
    data: RunData

class FileInfo:
    path: str

class Experiment:
    experiment_id: str
