from collections.abc import Callable, Iterable
from typing import Any

class Node:
    def __init__(
        self,
        func: Callable[..., Any],
        *,
        inputs: str | list[str] | dict[str, str] | None,
        outputs: str | list[str] | dict[str, str] | None,
        name: str | None = None,
    ) -> None: ...

class Pipeline:
    def __init__(self, nodes: Iterable[Node | Pipeline]) -> None: ...
    def all_outputs(self) -> set[str]: ...
