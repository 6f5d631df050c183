"""Freezing: values are copied, so that neither writers nor readers can change the stored value.

`freeze` prepares a value for storage. A value that is immutable at any depth is stored and returned as it is. Of all
other values a private copy is stored, with a plan, made once, that makes a copy for each reader.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, overload

from typing_extensions import is_typeddict

from .._base.text import short, type_name
from .._base.type_hints import classes_of
from ..errors import SchemaError, UncopyableValueError
from .copy_by_type import KINDS, Frozen, NoPlan, NotCopyable, kind_of_functions
from .copy_plans import CopyPlanner, forget_copiers
from .deepcopy_fallback import deep_copied
from .immutable_types import ATOMIC
from .live_types import LIVE, LiveFound, LiveKind
from .registered_codecs import CODECS, RegisteredCodec

_T = TypeVar("_T")


class KeyMarker:
    """The base of the markers in a key's annotation, such as `Annotated[X, Shared]`."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Callable[[Any], Any]) -> Any:
        """Add the marker to Pydantic's metadata, which also works in generics and forward references."""
        node = handler(source)
        metadata = node.setdefault("metadata", {})
        metadata["crystallize"] = (*metadata.get("crystallize", ()), cls.__name__)
        return node


class Shared(KeyMarker):
    """Marks a key whose value is shared and never copied: `model: Annotated[Model, Shared]`.

    It is meant for models, tokenizers and connections. All readers get the written object itself, if it is an instance
    of the declared type: then Pydantic does not look at its items, and does not rebuild it. Any other value is
    validated as usual, and may be converted.

    Example:
        >>> from typing import Annotated, Any
        >>> from typing_extensions import TypedDict
        >>> class Tools(TypedDict):
        ...     tokenizer: Annotated[Any, Shared]
        >>> tokenizer = object()
        >>> FrozenContext[Tools]({"tokenizer": tokenizer})["tokenizer"] is tokenizer
        True
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Callable[[Any], Any]) -> Any:
        """Add the marker, and keep instances of the type as they are."""
        return super().__get_pydantic_core_schema__(source, lambda source: _kept_if_instance(handler(source), source))


def _kept_if_instance(node: Any, source: Any) -> Any:
    """Return a core schema that does not validate instances of a type. JSON is validated as by `node`."""
    found = [dict if is_typeddict(cls) else cls for cls in classes_of(source) or ()]
    kinds = tuple(cls for cls in found if cls not in ATOMIC)
    return _outside_of_validators(node, partial(_keep_instance, kinds)) if kinds else node


def _outside_of_validators(node: Any, keep: Callable[[Any, Any], Any]) -> Any:
    """Put a wrap validator around a core schema, but within the user's own validators."""
    function = node.get("function", {}).get("function") if node["type"].startswith("function-") else None
    if "schema" in node and not str(getattr(function, "__module__", "pydantic")).startswith("pydantic"):
        return {**node, "schema": _outside_of_validators(node["schema"], keep)}
    wrapped = {"type": "function-wrap", "function": {"type": "no-info", "function": keep}, "schema": node}
    metadata = {**node.get("metadata", {})}
    return {"type": "json-or-python", "json_schema": node, "python_schema": wrapped, "metadata": metadata}


def _keep_instance(kinds: tuple[type, ...], value: Any, validate: Callable[[Any], Any]) -> Any:
    # Text is also a sequence, and a number may have limits.
    return value if isinstance(value, kinds) and type(value) not in ATOMIC else validate(value)


def freeze(value: Any, subject: str, on_live: Callable[[type], None], *, is_owned: bool = False) -> Frozen:
    """Return the stored form of a value and the function that copies it; None if readers get the stored object.

    `subject` is the name of the value in errors: "'lr'" or "a value of metric 'loss'". `on_live` is called with the
    type of a live object in the value. It raises an error, or the object is copied. If the value cannot be copied, or
    is nested too deeply, UncopyableValueError is raised. `is_owned`: nobody else has the value, and its buffers are
    immutable, so that they need not be copied.
    """
    if type(value) in ATOMIC:
        return value, None
    try:
        return _frozen(value, subject, refuses_live=True, is_owned=is_owned)
    except LiveFound as found:
        live = found.cls
    on_live(live)
    return _frozen(value, subject, refuses_live=False, is_owned=is_owned)


def _frozen(value: Any, subject: str, *, refuses_live: bool, is_owned: bool) -> Frozen:
    try:
        return CopyPlanner(refuses_live=refuses_live, is_owned=is_owned).take(value)
    except NoPlan:
        pass
    except RecursionError:
        reason = "it is nested too deeply for the rest of the stack"
        raise UncopyableValueError(subject, type_name(type(value)), reason) from None
    except NotCopyable as refused:
        raise UncopyableValueError(subject, type_name(refused.type), refused.reason) from refused.__cause__
    return deep_copied(value, subject, refuses_live=refuses_live)


@overload
def register(
    kind: type[_T],
    *,
    freeze: Callable[[_T], Any] | None = None,
    thaw: Callable[[Any], _T] | None = None,
    dump: Callable[[_T], bytes] | None = None,
    load: Callable[[bytes], _T] | None = None,
    equal: Callable[[_T, _T], bool] | None = None,
    live: bool = False,
) -> None: ...
@overload
def register(
    kind: str,
    *,
    freeze: Callable[[Any], Any] | None = None,
    thaw: Callable[[Any], Any] | None = None,
    dump: Callable[[Any], bytes] | None = None,
    load: Callable[[bytes], Any] | None = None,
    equal: Callable[[Any, Any], bool] | None = None,
    live: bool = False,
) -> None: ...
def register(
    kind: type | str,
    *,
    freeze: Callable[[Any], Any] | None = None,
    thaw: Callable[[Any], Any] | None = None,
    dump: Callable[[Any], bytes] | None = None,
    load: Callable[[bytes], Any] | None = None,
    equal: Callable[[Any, Any], bool] | None = None,
    live: bool = False,
) -> None:
    """Set how values of a type are copied and stored, or that they are not copied.

    A type can be given by its name, so that its library need not be imported. A later call for the same type adds to an
    earlier one.

    Args:
        kind: The type, or its full name as in an import: "torch.Tensor". Subclasses are included.
        freeze: A function of the written value. It returns the object to keep, which shares no memory with the value.
            If it is None, values are deep-copied.
        thaw: A function of the kept object. It returns the copy for a reader. If it is None, readers get the kept
            object itself, which must then be immutable.
        dump: A function of a value. It returns bytes for a file.
        load: A function of such bytes. It returns an equal value of the same type.
        equal: A function of the value and of what `load` makes of its bytes. It returns whether these are the same,
            which is checked whenever a value is stored. If it is None, `==` says it.
        live: Whether values change while they are used, as a model in training does. They are then refused, except for
            a key that is `Shared`.

    Raises:
        SchemaError: `kind` is neither a type nor a full name, or is a type of immutable values; or the functions do not
            go together.

    Example:
        >>> register("torch.Tensor", freeze=lambda t: t.detach().clone(), thaw=lambda t: t.clone())
    """
    if not isinstance(kind, type) and not (isinstance(kind, str) and "." in kind):
        raise SchemaError("register", f'it takes a type or its full name, as in "torch.Tensor", not {short(kind)}')
    if reason := _unfit_functions(freeze, thaw, dump, load, equal, live):
        raise SchemaError("register", reason)
    if kind in ATOMIC:
        raise SchemaError("register", f"a {short(kind)} cannot change and is never copied")
    if freeze is not None:
        KINDS.add(kind, kind_of_functions(freeze, thaw))
        LIVE.add(kind, LiveKind(is_live=False))
    if dump is not None and load is not None:
        CODECS.add(kind, RegisteredCodec(dump, load, equal))
    if live:
        LIVE.add(kind, LiveKind())
    forget_copiers()


def _unfit_functions(freeze: Any, thaw: Any, dump: Any, load: Any, equal: Any, live: bool) -> str | None:
    """Return why the arguments of `register` do not go together; None if they do."""
    given = {"freeze": freeze, "thaw": thaw, "dump": dump, "load": load, "equal": equal}
    wrong = next((name for name, function in given.items() if function is not None and not callable(function)), None)
    if wrong is not None:
        return f"{wrong} should be a function or None, got {short(given[wrong])}"
    if thaw is not None and freeze is None:
        return "thaw is a function of what freeze returned, so give freeze, too"
    if (dump is None) != (load is None):
        return "dump and load are inverse to one another, so give both or neither"
    if equal is not None and dump is None:
        return "equal compares a value with what load made of it, so give dump and load, too"
    if live and freeze is not None:
        return "a live value is never copied, so give either live=True or freeze"
    if not live and freeze is None and dump is None:
        return "give freeze, or dump and load, or live=True"
    return None
