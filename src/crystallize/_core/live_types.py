"""Types of live objects: they change while they are used, so that a copy of one is of no use to a reader."""

import warnings
from typing import Any, Final, NamedTuple, NoReturn
from weakref import WeakSet

from .._base.caller_namespace import levels_to_caller
from .._base.text import type_name
from .._base.type_registry import TypeRegistry
from ..errors import LiveValueError


class LiveKind(NamedTuple):
    """Whether values of a type are live objects."""

    is_live: bool = True
    """If it is False, live objects within a value are its own matter: it is copied as a whole."""
    state: str = ""
    """The call of a method that returns the state of a value in types that can be copied; empty if there is none."""


class LiveFound(Exception):
    """A value is a live object, or contains one."""

    def __init__(self, cls: type) -> None:
        super().__init__(cls)
        self.cls = cls


_BY_STATE_DICT = (
    *("torch.nn.Module", "torch.optim.Optimizer", "torch.optim.lr_scheduler.LRScheduler", "torch.amp.GradScaler"),
)
_BY_WEIGHTS = ("keras.Model", "keras.layers.Layer", "tf_keras.Model", "tf_keras.layers.Layer")

LIVE: Final[TypeRegistry[LiveKind]] = TypeRegistry(
    {
        **dict.fromkeys(_BY_STATE_DICT, LiveKind(state="state_dict()")),
        **dict.fromkeys(_BY_WEIGHTS, LiveKind(state="get_weights()")),
        "torch.utils.data.DataLoader": LiveKind(),
        "keras.optimizers.Optimizer": LiveKind(),
        "tf_keras.optimizers.Optimizer": LiveKind(),
        "flax.nnx.Module": LiveKind(),
        "xgboost.Booster": LiveKind(state="save_raw()"),
        "lightgbm.Booster": LiveKind(state="model_to_string()"),
        # A fitted estimator is used by `predict`, which a copy does as well. Some have a booster or a network inside.
        "sklearn.base.BaseEstimator": LiveKind(is_live=False),
    }
)
"""Which types are live."""

_warned: WeakSet[type] = WeakSet()


def warn_of_live(subject: str, cls: type) -> None:
    """Warn that readers get copies of a live object, once for each type, at the line that wrote it."""
    if cls in _warned:
        return
    text = f"{subject} contains a {type_name(cls)}, which changes while it is used; each reader gets a copy of it"
    advice = "Keep it outside of the context, or share it by a key of a schema that is declared with Shared"
    state = state_of_live(cls)
    warnings.warn(
        f"{text}. {advice}{f', or store what its {state} returns' if state else ''}.", stacklevel=levels_to_caller()
    )
    # If warnings are errors, no copy was made, and the next try is refused as well.
    _warned.add(cls)


def refuse_live(subject: str, value: Any, cls: type, *, name: str = "", declaration: str = "") -> NoReturn:
    """Raise LiveValueError for a live object in a value, whose variable is probably called `name`."""
    raise LiveValueError(subject, type_name(cls), declaration, _stored_state(name, value, cls))


def _stored_state(name: str, value: Any, cls: type) -> str:
    """Return how the state of the live objects in a value is stored; empty if it is not known."""
    state, variable = state_of_live(cls), name if name.isidentifier() else ""
    if not state or type(value) is cls:
        return f"{variable or cls.__name__.lower()}.{state}" if state else ""
    items = value.values() if type(value) is dict else value if type(value) in (list, tuple) else ()
    if not variable or {state_of_live(type(item)) for item in items} != {state}:
        return f"{state} of each {cls.__name__} in it"
    if type(value) is dict:
        return f"{{key: item.{state} for key, item in {variable}.items()}}"
    return f"[item.{state} for item in {variable}]"


def state_of_live(cls: type) -> str:
    """Return the call of the method that returns the state of live values of a type; empty if there is none."""
    kind = LIVE.find(cls)
    return "" if kind is None else kind.state
