from typing import Any

class Record:
    history: Any
    config: Any
    files: Any
    exit: Any
    metric: Any
    @classmethod
    def FromString(cls, data: bytes) -> Record: ...
    def WhichOneof(self, oneof_group: str) -> str: ...
