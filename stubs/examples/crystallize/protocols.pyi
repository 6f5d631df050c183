# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""What others may rely on, and what they may provide."""

import digits as _digits
import numpy as _numpy
import pathlib as _pathlib
import pipeline.schemas as _pipeline_schemas
import pipeline.tuning as _pipeline_tuning
import sklearn.linear_model as _sklearn_linear_model
import typing_extensions as _typing_extensions
from collections.abc import Callable
from .context import FrozenContext
from typing import Generic, Literal, Never
import logging
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar, overload, runtime_checkable
from .artifacts import ArtifactLog
from .events import Event
from .metrics import FrozenMetrics, Metric, MetricSchema

__all__ = ["CheckingSink", "Context", "DeclaredKey", "Sink"]
T_co = TypeVar("T_co", covariant=True)
_V = TypeVar("_V")
_G = TypeVar("_G")
_Batch_Item = _typing_extensions.TypeVar("_Batch_Item")
_Default = _typing_extensions.TypeVar("_Default", default=None)
_Value = _typing_extensions.TypeVar("_Value")
_Value_co = _typing_extensions.TypeVar("_Value_co", covariant=True)

class _Unlisted:
    """No schema: only that of a context of `Any` passes for it."""

class _Batch_getitem(Generic[_Batch_Item]):
    @overload
    def __call__(self, key: Literal["first"]) -> _Batch_Item: ...
    @overload
    def __call__(self, key: Literal["rest"]) -> list[_Batch_Item]: ...
    @overload
    def __call__(self, key: Literal["next"]) -> _pipeline_schemas.Batch[_Batch_Item] | None: ...

class _Batch_setitem(Generic[_Batch_Item]):
    @overload
    def __call__(self, key: Literal["first"], value: _Batch_Item) -> None: ...
    @overload
    def __call__(self, key: Literal["rest"], value: list[_Batch_Item]) -> None: ...
    @overload
    def __call__(self, key: Literal["next"], value: _pipeline_schemas.Batch[_Batch_Item] | None) -> None: ...

class _Batch_get(Generic[_Batch_Item]):
    @overload
    def __call__(self, key: Literal["first"], default: _Default = ...) -> _Batch_Item | _Default: ...
    @overload
    def __call__(self, key: Literal["rest"], default: _Default = ...) -> list[_Batch_Item] | _Default: ...
    @overload
    def __call__(
        self,
        key: Literal["next"],
        default: _Default = ...,
    ) -> _pipeline_schemas.Batch[_Batch_Item] | None | _Default: ...

class _FineTune_getitem:
    @overload
    def __call__(self, key: Literal["lr"]) -> float: ...
    @overload
    def __call__(self, key: Literal["epochs"]) -> int: ...
    @overload
    def __call__(self, key: Literal["folder"]) -> _pathlib.Path: ...
    @overload
    def __call__(self, key: Literal["accuracy"]) -> float: ...
    @overload
    def __call__(self, key: Literal["tokenizer"]) -> _pipeline_schemas.Tokenizer: ...
    @overload
    def __call__(self, key: Literal["best_epoch"]) -> int | None: ...
    @overload
    def __call__(self, key: Literal["sizes"]) -> dict[Literal["train", "val"], list[int]]: ...
    @overload
    def __call__(self, key: Literal["tree"]) -> _pipeline_schemas.Node: ...
    @overload
    def __call__(self, key: Literal["base"]) -> Literal["small", "large"]: ...

class _FineTune_setitem:
    @overload
    def __call__(self, key: Literal["lr"], value: float) -> None: ...
    @overload
    def __call__(self, key: Literal["epochs"], value: int) -> None: ...
    @overload
    def __call__(self, key: Literal["folder"], value: _pathlib.Path) -> None: ...
    @overload
    def __call__(self, key: Literal["accuracy"], value: float) -> None: ...
    @overload
    def __call__(self, key: Literal["tokenizer"], value: _pipeline_schemas.Tokenizer) -> None: ...
    @overload
    def __call__(self, key: Literal["best_epoch"], value: int | None) -> None: ...
    @overload
    def __call__(self, key: Literal["sizes"], value: dict[Literal["train", "val"], list[int]]) -> None: ...
    @overload
    def __call__(self, key: Literal["tree"], value: _pipeline_schemas.Node) -> None: ...
    @overload
    def __call__(self, key: Literal["base"], value: Literal["small", "large"]) -> None: ...

class _FineTune_get:
    @overload
    def __call__(self, key: Literal["lr"], default: _Default = ...) -> float | _Default: ...
    @overload
    def __call__(self, key: Literal["epochs"], default: _Default = ...) -> int | _Default: ...
    @overload
    def __call__(self, key: Literal["folder"], default: _Default = ...) -> _pathlib.Path | _Default: ...
    @overload
    def __call__(self, key: Literal["accuracy"], default: _Default = ...) -> float | _Default: ...
    @overload
    def __call__(
        self,
        key: Literal["tokenizer"],
        default: _Default = ...,
    ) -> _pipeline_schemas.Tokenizer | _Default: ...
    @overload
    def __call__(self, key: Literal["best_epoch"], default: _Default = ...) -> int | None | _Default: ...
    @overload
    def __call__(
        self,
        key: Literal["sizes"],
        default: _Default = ...,
    ) -> dict[Literal["train", "val"], list[int]] | _Default: ...
    @overload
    def __call__(self, key: Literal["tree"], default: _Default = ...) -> _pipeline_schemas.Node | _Default: ...
    @overload
    def __call__(self, key: Literal["base"], default: _Default = ...) -> Literal["small", "large"] | _Default: ...

class _Address_getitem:
    @overload
    def __call__(self, key: Literal["host"]) -> str: ...
    @overload
    def __call__(self, key: Literal["port"]) -> int: ...

class _Address_setitem:
    @overload
    def __call__(self, key: Literal["host"], value: str) -> None: ...
    @overload
    def __call__(self, key: Literal["port"], value: int) -> None: ...

class _Address_get:
    @overload
    def __call__(self, key: Literal["host"], default: _Default = ...) -> str | _Default: ...
    @overload
    def __call__(self, key: Literal["port"], default: _Default = ...) -> int | _Default: ...

class _Service_getitem:
    @overload
    def __call__(self, key: Literal["address"]) -> _pipeline_schemas.Address: ...
    @overload
    def __call__(self, key: Literal["mirrors"]) -> list[_pipeline_schemas.Address]: ...

class _Service_setitem:
    @overload
    def __call__(self, key: Literal["address"], value: _pipeline_schemas.Address) -> None: ...
    @overload
    def __call__(self, key: Literal["mirrors"], value: list[_pipeline_schemas.Address]) -> None: ...

class _Service_get:
    @overload
    def __call__(self, key: Literal["address"], default: _Default = ...) -> _pipeline_schemas.Address | _Default: ...
    @overload
    def __call__(
        self,
        key: Literal["mirrors"],
        default: _Default = ...,
    ) -> list[_pipeline_schemas.Address] | _Default: ...

class _Digits_getitem:
    @overload
    def __call__(self, key: Literal["seed"]) -> int: ...
    @overload
    def __call__(self, key: Literal["learning_rate"]) -> float: ...
    @overload
    def __call__(self, key: Literal["epochs"]) -> int: ...
    @overload
    def __call__(self, key: Literal["held_out"]) -> float: ...
    @overload
    def __call__(self, key: Literal["note"]) -> str: ...
    @overload
    def __call__(self, key: Literal["limit"]) -> int: ...
    @overload
    def __call__(self, key: Literal["samples"]) -> _digits.Samples: ...
    @overload
    def __call__(self, key: Literal["train"]) -> _digits.Samples: ...
    @overload
    def __call__(self, key: Literal["val"]) -> _digits.Samples: ...
    @overload
    def __call__(self, key: Literal["test"]) -> _digits.Samples: ...
    @overload
    def __call__(self, key: Literal["expected"]) -> float: ...
    @overload
    def __call__(self, key: Literal["model"]) -> _sklearn_linear_model.SGDClassifier: ...
    @overload
    def __call__(self, key: Literal["accuracy"]) -> float: ...
    @overload
    def __call__(self, key: Literal["confusion"]) -> _numpy.ndarray[tuple[Any, ...], _numpy.dtype[_numpy.int64]]: ...

class _Digits_setitem:
    @overload
    def __call__(self, key: Literal["seed"], value: int) -> None: ...
    @overload
    def __call__(self, key: Literal["learning_rate"], value: float) -> None: ...
    @overload
    def __call__(self, key: Literal["epochs"], value: int) -> None: ...
    @overload
    def __call__(self, key: Literal["held_out"], value: float) -> None: ...
    @overload
    def __call__(self, key: Literal["note"], value: str) -> None: ...
    @overload
    def __call__(self, key: Literal["limit"], value: int) -> None: ...
    @overload
    def __call__(self, key: Literal["samples"], value: _digits.Samples) -> None: ...
    @overload
    def __call__(self, key: Literal["train"], value: _digits.Samples) -> None: ...
    @overload
    def __call__(self, key: Literal["val"], value: _digits.Samples) -> None: ...
    @overload
    def __call__(self, key: Literal["test"], value: _digits.Samples) -> None: ...
    @overload
    def __call__(self, key: Literal["expected"], value: float) -> None: ...
    @overload
    def __call__(self, key: Literal["model"], value: _sklearn_linear_model.SGDClassifier) -> None: ...
    @overload
    def __call__(self, key: Literal["accuracy"], value: float) -> None: ...
    @overload
    def __call__(
        self,
        key: Literal["confusion"],
        value: _numpy.ndarray[tuple[Any, ...], _numpy.dtype[_numpy.int64]],
    ) -> None: ...

class _Digits_get:
    @overload
    def __call__(self, key: Literal["seed"], default: _Default = ...) -> int | _Default: ...
    @overload
    def __call__(self, key: Literal["learning_rate"], default: _Default = ...) -> float | _Default: ...
    @overload
    def __call__(self, key: Literal["epochs"], default: _Default = ...) -> int | _Default: ...
    @overload
    def __call__(self, key: Literal["held_out"], default: _Default = ...) -> float | _Default: ...
    @overload
    def __call__(self, key: Literal["note"], default: _Default = ...) -> str | _Default: ...
    @overload
    def __call__(self, key: Literal["limit"], default: _Default = ...) -> int | _Default: ...
    @overload
    def __call__(self, key: Literal["samples"], default: _Default = ...) -> _digits.Samples | _Default: ...
    @overload
    def __call__(self, key: Literal["train"], default: _Default = ...) -> _digits.Samples | _Default: ...
    @overload
    def __call__(self, key: Literal["val"], default: _Default = ...) -> _digits.Samples | _Default: ...
    @overload
    def __call__(self, key: Literal["test"], default: _Default = ...) -> _digits.Samples | _Default: ...
    @overload
    def __call__(self, key: Literal["expected"], default: _Default = ...) -> float | _Default: ...
    @overload
    def __call__(
        self,
        key: Literal["model"],
        default: _Default = ...,
    ) -> _sklearn_linear_model.SGDClassifier | _Default: ...
    @overload
    def __call__(self, key: Literal["accuracy"], default: _Default = ...) -> float | _Default: ...
    @overload
    def __call__(
        self,
        key: Literal["confusion"],
        default: _Default = ...,
    ) -> _numpy.ndarray[tuple[Any, ...], _numpy.dtype[_numpy.int64]] | _Default: ...

class _Loose_getitem:
    @overload
    def __call__(self, key: Literal["seed"]) -> int: ...
    @overload
    def __call__(self, key: str) -> Any: ...

class _Loose_setitem:
    @overload
    def __call__(self, key: Literal["seed"], value: int) -> None: ...
    @overload
    def __call__(self, key: str, value: Any) -> None: ...

class _Loose_get:
    @overload
    def __call__(self, key: Literal["seed"], default: _Default = ...) -> int | _Default: ...
    @overload
    def __call__(self, key: str, default: _Default = ...) -> Any | _Default: ...

class _Node_getitem:
    @overload
    def __call__(self, key: Literal["value"]) -> float: ...
    @overload
    def __call__(self, key: Literal["children"]) -> list[_pipeline_schemas.Node]: ...
    @overload
    def __call__(self, key: Literal["above"]) -> _pipeline_schemas.Node | None: ...

class _Node_setitem:
    @overload
    def __call__(self, key: Literal["value"], value: float) -> None: ...
    @overload
    def __call__(self, key: Literal["children"], value: list[_pipeline_schemas.Node]) -> None: ...
    @overload
    def __call__(self, key: Literal["above"], value: _pipeline_schemas.Node | None) -> None: ...

class _Node_get:
    @overload
    def __call__(self, key: Literal["value"], default: _Default = ...) -> float | _Default: ...
    @overload
    def __call__(
        self,
        key: Literal["children"],
        default: _Default = ...,
    ) -> list[_pipeline_schemas.Node] | _Default: ...
    @overload
    def __call__(self, key: Literal["above"], default: _Default = ...) -> _pipeline_schemas.Node | None | _Default: ...

class _Nothing_getitem:
    def __call__(self, key: Never) -> Any: ...

class _Nothing_setitem:
    def __call__(self, key: Never, value: Any) -> None: ...

class _Nothing_get:
    def __call__(self, key: Never, default: _Default = ...) -> Any | _Default: ...

class _Train_getitem:
    @overload
    def __call__(self, key: Literal["lr"]) -> float: ...
    @overload
    def __call__(self, key: Literal["epochs"]) -> int: ...
    @overload
    def __call__(self, key: Literal["folder"]) -> _pathlib.Path: ...
    @overload
    def __call__(self, key: Literal["accuracy"]) -> float: ...
    @overload
    def __call__(self, key: Literal["tokenizer"]) -> _pipeline_schemas.Tokenizer: ...
    @overload
    def __call__(self, key: Literal["best_epoch"]) -> int | None: ...
    @overload
    def __call__(self, key: Literal["sizes"]) -> dict[Literal["train", "val"], list[int]]: ...
    @overload
    def __call__(self, key: Literal["tree"]) -> _pipeline_schemas.Node: ...

class _Train_setitem:
    @overload
    def __call__(self, key: Literal["lr"], value: float) -> None: ...
    @overload
    def __call__(self, key: Literal["epochs"], value: int) -> None: ...
    @overload
    def __call__(self, key: Literal["folder"], value: _pathlib.Path) -> None: ...
    @overload
    def __call__(self, key: Literal["accuracy"], value: float) -> None: ...
    @overload
    def __call__(self, key: Literal["tokenizer"], value: _pipeline_schemas.Tokenizer) -> None: ...
    @overload
    def __call__(self, key: Literal["best_epoch"], value: int | None) -> None: ...
    @overload
    def __call__(self, key: Literal["sizes"], value: dict[Literal["train", "val"], list[int]]) -> None: ...
    @overload
    def __call__(self, key: Literal["tree"], value: _pipeline_schemas.Node) -> None: ...

class _Train_get:
    @overload
    def __call__(self, key: Literal["lr"], default: _Default = ...) -> float | _Default: ...
    @overload
    def __call__(self, key: Literal["epochs"], default: _Default = ...) -> int | _Default: ...
    @overload
    def __call__(self, key: Literal["folder"], default: _Default = ...) -> _pathlib.Path | _Default: ...
    @overload
    def __call__(self, key: Literal["accuracy"], default: _Default = ...) -> float | _Default: ...
    @overload
    def __call__(
        self,
        key: Literal["tokenizer"],
        default: _Default = ...,
    ) -> _pipeline_schemas.Tokenizer | _Default: ...
    @overload
    def __call__(self, key: Literal["best_epoch"], default: _Default = ...) -> int | None | _Default: ...
    @overload
    def __call__(
        self,
        key: Literal["sizes"],
        default: _Default = ...,
    ) -> dict[Literal["train", "val"], list[int]] | _Default: ...
    @overload
    def __call__(self, key: Literal["tree"], default: _Default = ...) -> _pipeline_schemas.Node | _Default: ...

class _Settings_getitem:
    def __call__(self, key: Literal["depth"]) -> int: ...

class _Settings_setitem:
    def __call__(self, key: Literal["depth"], value: int) -> None: ...

class _Settings_get:
    def __call__(self, key: Literal["depth"], default: _Default = ...) -> int | _Default: ...

class _Train_2_getitem:
    @overload
    def __call__(self, key: Literal["trials"]) -> int: ...
    @overload
    def __call__(self, key: Literal["lr"]) -> tuple[float, float]: ...

class _Train_2_setitem:
    @overload
    def __call__(self, key: Literal["trials"], value: int) -> None: ...
    @overload
    def __call__(self, key: Literal["lr"], value: tuple[float, float]) -> None: ...

class _Train_2_get:
    @overload
    def __call__(self, key: Literal["trials"], default: _Default = ...) -> int | _Default: ...
    @overload
    def __call__(self, key: Literal["lr"], default: _Default = ...) -> tuple[float, float] | _Default: ...

class _Scores_getitem:
    @overload
    def __call__(self, key: Literal["mean"]) -> float: ...
    @overload
    def __call__(self, key: Literal["parts"]) -> _pipeline_schemas.Sizes: ...

class _Scores_setitem:
    @overload
    def __call__(self, key: Literal["mean"], value: float) -> None: ...
    @overload
    def __call__(self, key: Literal["parts"], value: _pipeline_schemas.Sizes) -> None: ...

class _Scores_get:
    @overload
    def __call__(self, key: Literal["mean"], default: _Default = ...) -> float | _Default: ...
    @overload
    def __call__(self, key: Literal["parts"], default: _Default = ...) -> _pipeline_schemas.Sizes | _Default: ...

class _FreeGetitem(Protocol[_Value_co]):
    def __call__(self, key: str) -> _Value_co: ...

class _FreeSetitem(Protocol):
    def __call__(self, key: str, value: Any) -> None: ...

class _FreeGet(Protocol):
    def __call__(self, key: str, default: Any = None) -> Any: ...

class _Getitem(Generic[T_co]):
    @overload
    def __get__(self: _Getitem[_Unlisted], ctx: object, owner: Any) -> _FreeGetitem[Any]: ...
    @overload
    def __get__(
        self: _Getitem[_pipeline_schemas.Batch[_Batch_Item]],
        ctx: object,
        owner: Any,
    ) -> _Batch_getitem[_Batch_Item]: ...
    @overload
    def __get__(self: _Getitem[_pipeline_schemas.FineTune], ctx: object, owner: Any) -> _FineTune_getitem: ...
    @overload
    def __get__(self: _Getitem[_pipeline_schemas.Address], ctx: object, owner: Any) -> _Address_getitem: ...
    @overload
    def __get__(self: _Getitem[_pipeline_schemas.Service], ctx: object, owner: Any) -> _Service_getitem: ...
    @overload
    def __get__(self: _Getitem[_digits.Digits], ctx: object, owner: Any) -> _Digits_getitem: ...
    @overload
    def __get__(self: _Getitem[_pipeline_schemas.Loose], ctx: object, owner: Any) -> _Loose_getitem: ...
    @overload
    def __get__(self: _Getitem[_pipeline_schemas.Node], ctx: object, owner: Any) -> _Node_getitem: ...
    @overload
    def __get__(self: _Getitem[_pipeline_schemas.Nothing], ctx: object, owner: Any) -> _Nothing_getitem: ...
    @overload
    def __get__(self: _Getitem[_pipeline_schemas.Train], ctx: object, owner: Any) -> _Train_getitem: ...
    @overload
    def __get__(self: _Getitem[_pipeline_tuning.Settings], ctx: object, owner: Any) -> _Settings_getitem: ...
    @overload
    def __get__(self: _Getitem[_pipeline_tuning.Train], ctx: object, owner: Any) -> _Train_2_getitem: ...
    @overload
    def __get__(self: _Getitem[_pipeline_schemas.Scores], ctx: object, owner: Any) -> _Scores_getitem: ...
    @overload
    def __get__(self: _Getitem[dict[str, _Value]], ctx: FrozenContext[Any], owner: Any) -> _FreeGetitem[_Value]: ...
    @overload
    def __get__(self, ctx: object, owner: Any) -> _FreeGetitem[Any]: ...
    @overload
    def __call__(
        self: _Getitem[_pipeline_schemas.Batch[_Batch_Item]],
        key: Literal["first", "rest", "next"],
    ) -> Any: ...
    @overload
    def __call__(
        self: _Getitem[_pipeline_schemas.FineTune],
        key: Literal["lr", "epochs", "folder", "accuracy", "tokenizer", "best_epoch", "sizes", "tree", "base"],
    ) -> Any: ...
    @overload
    def __call__(self: _Getitem[_pipeline_schemas.Address], key: Literal["host", "port"]) -> Any: ...
    @overload
    def __call__(self: _Getitem[_pipeline_schemas.Service], key: Literal["address", "mirrors"]) -> Any: ...
    @overload
    def __call__(
        self: _Getitem[_digits.Digits],
        key: Literal[
            "seed",
            "learning_rate",
            "epochs",
            "held_out",
            "note",
            "limit",
            "samples",
            "train",
            "val",
            "test",
            "expected",
            "model",
            "accuracy",
            "confusion",
        ],
    ) -> Any: ...
    @overload
    def __call__(self: _Getitem[_pipeline_schemas.Loose], key: Literal["seed"]) -> Any: ...
    @overload
    def __call__(self: _Getitem[_pipeline_schemas.Node], key: Literal["value", "children", "above"]) -> Any: ...
    @overload
    def __call__(
        self: _Getitem[_pipeline_schemas.Train],
        key: Literal["lr", "epochs", "folder", "accuracy", "tokenizer", "best_epoch", "sizes", "tree"],
    ) -> Any: ...
    @overload
    def __call__(self: _Getitem[_pipeline_tuning.Settings], key: Literal["depth"]) -> Any: ...
    @overload
    def __call__(self: _Getitem[_pipeline_tuning.Train], key: Literal["trials", "lr"]) -> Any: ...
    @overload
    def __call__(self: _Getitem[_pipeline_schemas.Scores], key: Literal["mean", "parts"]) -> Any: ...

class _Setitem(Generic[T_co]):
    @overload
    def __get__(self: _Setitem[_Unlisted], ctx: object, owner: Any) -> _FreeSetitem: ...
    @overload
    def __get__(
        self: _Setitem[_pipeline_schemas.Batch[_Batch_Item]],
        ctx: object,
        owner: Any,
    ) -> _Batch_setitem[_Batch_Item]: ...
    @overload
    def __get__(self: _Setitem[_pipeline_schemas.FineTune], ctx: object, owner: Any) -> _FineTune_setitem: ...
    @overload
    def __get__(self: _Setitem[_pipeline_schemas.Address], ctx: object, owner: Any) -> _Address_setitem: ...
    @overload
    def __get__(self: _Setitem[_pipeline_schemas.Service], ctx: object, owner: Any) -> _Service_setitem: ...
    @overload
    def __get__(self: _Setitem[_digits.Digits], ctx: object, owner: Any) -> _Digits_setitem: ...
    @overload
    def __get__(self: _Setitem[_pipeline_schemas.Loose], ctx: object, owner: Any) -> _Loose_setitem: ...
    @overload
    def __get__(self: _Setitem[_pipeline_schemas.Node], ctx: object, owner: Any) -> _Node_setitem: ...
    @overload
    def __get__(self: _Setitem[_pipeline_schemas.Nothing], ctx: object, owner: Any) -> _Nothing_setitem: ...
    @overload
    def __get__(self: _Setitem[_pipeline_schemas.Train], ctx: object, owner: Any) -> _Train_setitem: ...
    @overload
    def __get__(self: _Setitem[_pipeline_tuning.Settings], ctx: object, owner: Any) -> _Settings_setitem: ...
    @overload
    def __get__(self: _Setitem[_pipeline_tuning.Train], ctx: object, owner: Any) -> _Train_2_setitem: ...
    @overload
    def __get__(self: _Setitem[_pipeline_schemas.Scores], ctx: object, owner: Any) -> _Scores_setitem: ...
    @overload
    def __get__(self, ctx: object, owner: Any) -> _FreeSetitem: ...

class _Get(Generic[T_co]):
    @overload
    def __get__(self: _Get[_Unlisted], ctx: object, owner: Any) -> _FreeGet: ...
    @overload
    def __get__(
        self: _Get[_pipeline_schemas.Batch[_Batch_Item]],
        ctx: object,
        owner: Any,
    ) -> _Batch_get[_Batch_Item]: ...
    @overload
    def __get__(self: _Get[_pipeline_schemas.FineTune], ctx: object, owner: Any) -> _FineTune_get: ...
    @overload
    def __get__(self: _Get[_pipeline_schemas.Address], ctx: object, owner: Any) -> _Address_get: ...
    @overload
    def __get__(self: _Get[_pipeline_schemas.Service], ctx: object, owner: Any) -> _Service_get: ...
    @overload
    def __get__(self: _Get[_digits.Digits], ctx: object, owner: Any) -> _Digits_get: ...
    @overload
    def __get__(self: _Get[_pipeline_schemas.Loose], ctx: object, owner: Any) -> _Loose_get: ...
    @overload
    def __get__(self: _Get[_pipeline_schemas.Node], ctx: object, owner: Any) -> _Node_get: ...
    @overload
    def __get__(self: _Get[_pipeline_schemas.Nothing], ctx: object, owner: Any) -> _Nothing_get: ...
    @overload
    def __get__(self: _Get[_pipeline_schemas.Train], ctx: object, owner: Any) -> _Train_get: ...
    @overload
    def __get__(self: _Get[_pipeline_tuning.Settings], ctx: object, owner: Any) -> _Settings_get: ...
    @overload
    def __get__(self: _Get[_pipeline_tuning.Train], ctx: object, owner: Any) -> _Train_2_get: ...
    @overload
    def __get__(self: _Get[_pipeline_schemas.Scores], ctx: object, owner: Any) -> _Scores_get: ...
    @overload
    def __get__(self, ctx: object, owner: Any) -> _FreeGet: ...

def _as_getitem(method: Callable[[Context[_Value], str], Any]) -> _Getitem[_Value]: ...
def _as_setitem(method: Callable[[Context[_Value], str, Any], None]) -> _Setitem[_Value]: ...
def _as_get(method: Callable[[Context[_Value], str], Any]) -> _Get[_Value]: ...

@runtime_checkable
class Context(Protocol[T_co]):
    """What a step asks for: a context that declares at least the keys of `T`.

    A step names what it needs by a protocol of its own, `def fit(ctx: Context[FitNeeds])`, and a type checker
    proves that each context handed to it declares that. `FrozenContext` and `LoggingContext` conform.

    Example:
        >>> from typing import Protocol
        >>> class FitNeeds(Protocol):
        ...     @property
        ...     def lr(self) -> float: ...
        >>> def fit(ctx: Context[FitNeeds]) -> None:
        ...     ctx.record("step_size", ctx.fields.lr)
    """

    @property
    def fields(self) -> T_co:
        """The keys, each with its type."""

    @property
    def metrics(self) -> FrozenMetrics:
        """What was measured."""

    @property
    def artifacts(self) -> ArtifactLog:
        """The files made."""

    @property
    def logger(self) -> logging.Logger:
        """Where to log."""

    @_as_getitem
    def __getitem__(self: Context[T_co], key: str) -> Any:
        """Return the value of a key."""

    @_as_setitem
    def __setitem__(self: Context[T_co], key: str, value: Any) -> None:
        """Write a key, once."""

    def __contains__(self, key: object) -> bool:
        """Whether a key is written."""

    @_as_get
    def get(self: Context[T_co], key: str, default: Any = None) -> Any:
        """Return the value of a key, or a default if it is not written."""

    @_as_setitem
    def add(self: Context[T_co], key: str, value: Any) -> None:
        """Write a key, once."""

    @overload
    def record(self, metric_name: Metric[_V, None], value: _V, tags: None = None) -> None:
        """Record a point of a metric."""

    @overload
    def record(self, metric_name: Metric[_V, _G], value: _V, tags: _G) -> None: ...
    @overload
    def record(self, metric_name: Literal["accuracy"], value: float, tags: _pipeline_schemas.FoldTags) -> None: ...
    @overload
    def record(self, metric_name: Literal["accuracy"], value: float, tags: _digits.EpochTags) -> None: ...
    @overload
    def record(self, metric_name: Literal["loss"], value: float, tags: _pipeline_schemas.EpochTags) -> None: ...
    @overload
    def record(self, metric_name: Literal["loss"], value: float, tags: _digits.EpochTags) -> None: ...
    @overload
    def record(self, metric_name: Literal["loss"], value: float, tags: None = None) -> None: ...
    @overload
    def record(self, metric_name: Literal["rows"], value: int, tags: None = None) -> None: ...
    @overload
    def record(self, metric_name: Literal["score"], value: float, tags: _digits.FoldTags) -> None: ...
    @overload
    def record(self, metric_name: str, value: Any, tags: Mapping[str, Any] | None = None) -> None: ...

@runtime_checkable
class Sink(Protocol):
    """What is told everything that happens to a context, in the order in which it took effect.

    Whoever makes a sink closes it, after the context's last use.

    Example:
        >>> class Printer:
        ...     def handle(self, event: Event, /) -> None:
        ...         print(type(event).__name__)
        ...     def close(self) -> None:
        ...         pass
        >>> ctx = FrozenContext({"lr": 0.1}, sinks=[Printer()])
        KeyWritten
    """

    def handle(self, event: Event, /) -> None:
        """Take one event. What it raises reaches, as a `SinkError`, whoever caused the event."""

    def close(self) -> None:
        """Finish, and give back what it holds."""

class DeclaredKey(NamedTuple):
    """A key as a sink gets to know it before the run starts.

    Example:
        >>> DeclaredKey(float, is_input=True)
        DeclaredKey(type=<class 'float'>, is_input=True)
    """

    type: Any
    """The type that it is declared with, without its constraints; `Any` where none is declared."""

    is_input: bool
    """Whether the context holds it from the start."""

@runtime_checkable
class CheckingSink(Sink, Protocol):
    """A sink that says before the run starts what its backend would refuse.

    What all sinks of a context say becomes one `SinkCheckError`. Nothing has been told to any of them then.

    Example:
        >>> from crystallize.sinks.memory import MemorySink
        >>> class Short(MemorySink):
        ...     def check(self, schema, metrics, /):
        ...         return [f"key {key!r} is too long" for key in schema if len(key) > 20]
        >>> isinstance(Short(), CheckingSink)
        True
    """

    def check(self, schema: Mapping[str, DeclaredKey], metrics: type[MetricSchema] | None, /) -> Iterable[str]:
        """Return what the backend would refuse: names, lengths, characters, types.

        Args:
            schema: The keys that are declared, and those that the context starts with.
            metrics: What may be measured; None where that is anything.

        Returns:
            Each problem as a sentence.
        """
