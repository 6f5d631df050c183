from typing import Any

class CallbackEnv:
    params: dict[str, Any]
    iteration: int
    begin_iteration: int
    end_iteration: int
    evaluation_result_list: list[tuple[Any, ...]] | None
