from typing import Any

class SessionStartInfo:
    hparams: Any
    def __init__(self, *, start_time_secs: float) -> None: ...

class SessionEndInfo:
    def __init__(self, *, status: int, end_time_secs: float) -> None: ...

class HParamsPluginData:
    session_start_info: Any
    session_end_info: Any
    def __init__(
        self,
        *,
        version: int,
        session_start_info: SessionStartInfo = ...,
        session_end_info: SessionEndInfo = ...,
    ) -> None: ...
    def SerializeToString(self) -> bytes: ...
    @classmethod
    def FromString(cls, data: bytes) -> HParamsPluginData: ...
