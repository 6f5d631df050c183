from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

_V = TypeVar("_V")

class ConfigurableResource(BaseModel, Generic[_V]): ...
class Nothing: ...

class In:
    def __init__(self, dagster_type: Any = ...) -> None: ...

class DynamicOut: ...

class DynamicOutput(Generic[_V]):
    def __init__(self, value: _V, mapping_key: str) -> None: ...

class RetryPolicy:
    def __init__(self, max_retries: int = 1, delay: float | None = None) -> None: ...

class ExecutorDefinition:
    def configured(self, config_or_config_fn: Mapping[str, Any]) -> ExecutorDefinition: ...

in_process_executor: ExecutorDefinition
multiprocess_executor: ExecutorDefinition

class Invoked:
    # What an op gives within a job: not its value, but a place in the graph.

    def map(self, op: OpDefinition) -> Invoked: ...
    def collect(self) -> Invoked: ...

class OpDefinition:
    def __call__(self, *inputs: Invoked) -> Invoked: ...

class ExecuteInProcessResult:
    success: bool
    def output_for_node(self, node_str: str, output_name: str = ...) -> Any: ...

class GraphDefinition:
    def to_job(
        self, *, resource_defs: Mapping[str, object] | None = None, executor_def: ExecutorDefinition | None = None
    ) -> JobDefinition: ...

class JobDefinition:
    graph: GraphDefinition
    def execute_in_process(
        self, *, raise_on_error: bool = True, resources: Mapping[str, object] | None = None
    ) -> ExecuteInProcessResult: ...

def op(
    *,
    ins: Mapping[str, In] | None = None,
    out: DynamicOut | None = None,
    retry_policy: RetryPolicy | None = None,
    tags: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., Any]], OpDefinition]: ...
def job(
    *, resource_defs: Mapping[str, object] | None = None, executor_def: ExecutorDefinition | None = None
) -> Callable[[Callable[[], None]], JobDefinition]: ...

class DagsterInstance: ...
class ReconstructableJob: ...

def reconstructable(target: Callable[[], JobDefinition]) -> ReconstructableJob: ...
def instance_for_test(*, temp_dir: str | None = None) -> AbstractContextManager[DagsterInstance]: ...

class JobExecutionResult:
    success: bool
    run_id: str

class ReexecutionOptions:
    @staticmethod
    def from_failure(run_id: str, instance: DagsterInstance) -> ReexecutionOptions: ...

def execute_job(
    job: ReconstructableJob,
    instance: DagsterInstance,
    *,
    raise_on_error: bool = False,
    reexecution_options: ReexecutionOptions | None = None,
) -> JobExecutionResult: ...
