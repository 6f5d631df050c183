# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""Many branches at once: a task for each item, on threads, processes or a cluster."""

from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, Executor
from typing import Literal, TypeVar, overload
from .branches import BranchContext
from .context import FrozenContext
from .errors import BranchError

__all__ = ["LostBranchesError", "fan_out"]
_T = TypeVar("_T")
_I = TypeVar("_I")
_R = TypeVar("_R")

class LostBranchesError(BranchError, BrokenExecutor):
    """Workers died before all branches had ended. What the others did is merged; the same call runs the rest.

    Attributes:
        branch: The first of the branches that did not end.
        reason: Which did not, and what to do about it.
        items: The items whose branches did not end, in short.
    """

    items: tuple[str, ...]

    def __init__(self, branch: str, items: tuple[str, ...], cause: str) -> None: ...

@overload
def fan_out(
    ctx: FrozenContext[_T],
    task: Callable[[BranchContext[_T], _I], _R],
    items: Iterable[_I],
    *,
    executor: Executor,
    name: str | Callable[[_I], str] | None = None,
    errors: Literal["raise"] = "raise",
    progress: bool = False,
) -> list[_R]:
    """Run a task for each item on workers, each in a branch of its own, and merge what they did.

    The context is then as if the task had been run here for one item after another. Each branch is merged as soon as
    it ends. If not all can be, the same call again runs only the others; so it is in a run that is resumed. Of a branch
    that failed there is a record with its error, and nothing that was done in it, until it is run again.

    Args:
        ctx: The parent; or a step of it, which the branches are named after.
        task: Takes the child context of its branch, and the item. What it returns is to be restorable from JSON by
            its return annotation, or it is run again when a run is resumed.
        items: What to run it for.
        executor: Where: threads, processes, loky, Dask's `client.get_executor(pure=False)`, any `Executor`.
        name: What to call the branches: the beginning, to which the item's place is added, or a function of the item.
            By default the beginning is the task's name: "fold-3".
        errors: "raise": the first failure in the order of the items is raised, after all others were merged.
            "collect": each failure stands in its item's place in the list.
        progress: Show how far it is, by tqdm, where that is installed.

    Returns:
        What the task returned, in the order of the items.

    Raises:
        BranchError: A name is there twice, or was used before; or the executor is one that cannot be used.
        TravelError: Something that the context holds cannot be sent.
        LostBranchesError: Workers died before all branches had ended.
        KeyboardInterrupt: Ctrl-C: what had not started was cancelled, what had was merged.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> def fold(ctx, k):
        ...     return ctx["size"] * k
        >>> with ThreadPoolExecutor() as pool:
        ...     fan_out(FrozenContext({"size": 10}), fold, range(3), executor=pool)
        [0, 10, 20]
    """

@overload
def fan_out(
    ctx: FrozenContext[_T],
    task: Callable[[BranchContext[_T], _I], _R],
    items: Iterable[_I],
    *,
    executor: Executor,
    name: str | Callable[[_I], str] | None = None,
    errors: Literal["collect"],
    progress: bool = False,
) -> list[_R | BaseException]: ...
