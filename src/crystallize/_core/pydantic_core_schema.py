"""Read the core schemas that Pydantic makes of types. No other file depends on their structure."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import cache, partial
from itertools import chain
from typing import Any, TypeAlias, TypeVar, get_args, get_origin

from pydantic import BaseModel, PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter
from pydantic_core import SchemaError as CoreSchemaError
from pydantic_core import SchemaSerializer, SchemaValidator
from typing_extensions import is_typeddict

from .._base.caller_namespace import caller_namespace
from .._base.type_hints import key_types, plain_type, unaliased, unchecked_class
from ..errors import SchemaError
from .dataclass_outputs import outputs_beside
from .digest import digest, stable_form
from .freezing import Shared
from .key import Key, Output, ValueDomain, shape_name
from .secrets import is_secret

CoreNode: TypeAlias = dict[str, Any]
"""A core schema, or a part of one."""

_NUMBERS = ("float", "int", "bool")
_EXACT_TYPES = {"float": float, "int": int, "bool": bool, "str": str}
"""The type of all valid values of a core schema, subclasses excluded."""
_PLAIN_NODES = (*_NUMBERS, "str", "literal")


def _exact_type(node: CoreNode) -> type | None:
    """Return the type of all values that a core schema accepts, if it is the same for all."""
    is_text = node["type"] == "literal" and all(type(choice) is str for choice in node["expected"])
    return str if is_text else _EXACT_TYPES.get(node["type"])


def _domain_of(node: CoreNode, definitions: Mapping[str, CoreNode]) -> ValueDomain | None:
    """Return the domain of the values that a core schema accepts; None if a function, or a type, hides it."""
    kind = node["type"]
    if kind == "definition-ref":
        # An enum that is used twice has a definition. All other types with definitions may be recursive.
        node = definitions.get(node["schema_ref"], node)
        kind = node["type"]
    if kind in ("literal", "enum"):
        choices = tuple(choice for choice in node["expected" if kind == "literal" else "members"] if choice is not None)
        return ValueDomain(frozenset(map(type, choices)), choices)
    if kind in _EXACT_TYPES:
        return ValueDomain(frozenset({_EXACT_TYPES[kind]}), None)
    if kind == "union":
        parts = [_domain_of(part[0] if isinstance(part, tuple) else part, definitions) for part in node["choices"]]
        known = [part for part in parts if part is not None]
        types = frozenset(chain.from_iterable(part.types for part in known))
        listed = [part.choices for part in known if part.choices is not None]
        choices = tuple(chain.from_iterable(listed))
        return ValueDomain(types, choices if len(listed) == len(parts) else None) if len(known) == len(parts) else None
    return _domain_of(node["schema"], definitions) if kind in ("nullable", "default", "function-before") else None


def _unwrapped(node: CoreNode) -> CoreNode:
    """Return a node without the nodes that allow None or set a default."""
    return _unwrapped(node["schema"]) if node["type"] in ("nullable", "default") else node


class CoreType:
    """The core schema of a type that is validated as a whole: the values of a metric, or its tags.

    Attributes:
        is_number: Whether it accepts numbers and bools only.
        exact_type: The type of all values that it accepts, if it is the same for all.
        is_tags: Whether it is the schema of a TypedDict or a model, without further validators.
    """

    def __init__(self, kind: Any, label: str) -> None:
        self._node = _core_schema_of(kind, label)
        self._definitions = {part["ref"]: part for part in self._node.get("definitions", ())}
        if _is_read_once(self._node, self._definitions):
            raise SchemaError(label, _READ_ONCE.format(shape_name(kind)))
        self.is_number: bool = self._node["type"] in _NUMBERS
        self.exact_type: type | None = _EXACT_TYPES.get(self._node["type"])
        self.is_tags: bool = self._node["type"] in ("typed-dict", "model")

    @property
    def holds_secret(self) -> bool:
        """Whether a value may contain a secret, at any depth."""
        return any(_makes_secret(part) for part in _nodes_in(self._node, self._definitions))

    def validator(self, config: Any = None, *, undeclared: str = "forbid") -> Callable[[Any], Any]:
        """Return a validator. For a closed TypedDict, `undeclared` is Pydantic's mode for undeclared keys."""
        node = self._node
        closed = node["type"] == "typed-dict" and not _allows_more(node)
        own: Any = {**node, "extra_behavior": undeclared} if closed else node
        validate = SchemaValidator(own, config).validate_python
        if any("validation_alias" in part for part in _nodes_in(node, self._definitions)):
            # By name too, since tags are read by their names.
            return partial(validate, by_alias=True, by_name=True)
        return validate


class CoreShape:
    """The parts of the core schema of a shape.

    Attributes:
        kind: "model", "dataclass", "typed-dict" or "dict".
        config: The config under which the shape's own validators run.
        definitions: The definitions of recursive types, which nodes refer to.
        around: The model-level validators that run after the fields are validated, outermost first.
        fields: The node of each field.
        others: The node of the values of undeclared keys; None if they are not allowed.
    """

    def __init__(self, kind: str, definitions: list[CoreNode]) -> None:
        self.kind = kind
        self.definitions = definitions
        self.config: Any = None
        self.around: list[CoreNode] = []
        self.fields: dict[str, CoreNode] = {}
        self.others: CoreNode | None = None

    @classmethod
    def of(cls, shape: Any) -> "CoreShape":
        """Return the parts of a shape's core schema; raise SchemaError if the shape has no keys."""
        shape, known = unaliased(shape), plain_type(shape)
        kind = _shape_kind(known)
        plain: Any = dict
        own = get_args(known)
        is_mapping = Mapping in (known, get_origin(known))
        node = _core_schema_of((plain[own] if own else plain) if is_mapping else shape, shape_name(shape))
        core = cls(kind, [])
        while (inner := core._enter(node)) is not None:
            node = inner
        core._take_fields(node, known)
        core._check_fields(known)
        return core

    def _enter(self, node: CoreNode) -> CoreNode | None:
        """Store the information in a node, and return its inner node; None if the node itself contains the fields."""
        inner: CoreNode | None = node.get("schema")
        match node["type"]:
            case "definitions":
                self.definitions = node["definitions"]
            case "definition-ref":
                inner = next(part for part in self.definitions if part["ref"] == node["schema_ref"])
            case "model" | "dataclass":
                self.config = node.get("config")
                allows = (self.config or {}).get("extra_fields_behavior") == "allow"
                self.others = {"type": "any"} if allows else None
            case "function-after" | "function-wrap":
                self.around.append(node)
            case "function-before":
                pass
            case _:
                return None
        return inner

    def _take_fields(self, node: CoreNode, shape: Any) -> None:
        if node["type"] == "dict":
            if node.get("keys_schema", {"type": "any"}) not in ({"type": "str"}, {"type": "any"}):
                raise SchemaError(shape_name(shape), "a context's keys are any str; write dict[str, ...]")
            self.others = node.get("values_schema", {"type": "any"})
            return
        if node["type"] not in ("model-fields", "dataclass-args", "typed-dict"):
            raise SchemaError(shape_name(shape), f"it has its own way to be validated ({node['type']}), and so no keys")
        fields = node["fields"]
        self.fields = fields if isinstance(fields, dict) else {field["name"]: field for field in fields}
        if any(field.get("init_only") for field in self.fields.values()):
            raise SchemaError(shape_name(shape), "an InitVar is no key, as nothing holds it; declare a field instead")
        if node["type"] == "typed-dict":
            self.config = node.get("config")
        if _allows_more(node) or self.others is not None:
            self.others = node.get("extras_schema", {"type": "any"})
        if (outputs := outputs_beside(self.fields, shape, shape_name(shape))) is not None:
            added = CoreShape.of(outputs)
            self.fields = {**self.fields, **added.fields}
            self.definitions = [*self.definitions, *(it for it in added.definitions if it not in self.definitions)]

    def _check_fields(self, shape: Any) -> None:
        """Raise SchemaError if a field allows values that can be read only once, which no two readers could get."""
        definitions = {part["ref"]: part for part in self.definitions}
        nodes = {name: field["schema"] for name, field in self.fields.items()}
        nodes |= {"": self.others} if self.others is not None else {}
        for name, node in nodes.items():
            if _is_read_once(node, definitions) and Shared.__name__ not in _marks(_top(node, definitions)):
                written = shape_name(key_types(shape, [name])[name])
                raise SchemaError(shape_name(shape), f"{name or 'a value'!r}: {_READ_ONCE.format(written)}")

    def exact_types(self) -> dict[str, type | None]:
        """Return, by field, the type of all values that it accepts, if it is the same for all."""
        return {name: _exact_type(field["schema"]) for name, field in self.fields.items()}

    def tuple_validator(self) -> Callable[[Any], tuple[Any, ...]]:
        """Return a validator of a tuple with a value for each field, in their order."""
        node = {"type": "tuple", "items_schema": [field["schema"] for field in self.fields.values()]}
        return SchemaValidator(self.defined(node), self.config).validate_python

    @property
    def is_plain(self) -> bool:
        """Whether the fields accept numbers, bools, texts and None only."""
        return all(_unwrapped(field["schema"])["type"] in _PLAIN_NODES for field in self.fields.values())

    def assembler(self, make: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return a function that makes an instance by `make`, and runs the model-level validators on it."""
        node: Any = {"type": "function-plain", "function": {"type": "no-info", "function": make}}
        for outer in reversed(self.around):
            node = {**{name: part for name, part in outer.items() if name != "ref"}, "schema": node}
        return SchemaValidator(self.defined(node), self.config).validate_python

    def defined(self, node: Any) -> Any:
        """Return a node with the definitions that it may refer to."""
        return {"type": "definitions", "schema": node, "definitions": self.definitions} if self.definitions else node

    def key(self, name: str, field: CoreNode) -> Key:
        """Return the declaration of a key, made from the node of its field."""
        node = field["schema"]
        own = self.defined(node)
        definitions = {part["ref"]: part for part in self.definitions}
        parts, top = list(_nodes_in(node, definitions)), list(_top(node, definitions))
        marks = _marks(top)
        if Shared.__name__ in _marks(part for part in parts if part not in top):
            raise SchemaError(name, "Shared marks a whole key; within its value it would have no effect")
        default = next((part for part in top if part["type"] == "default"), None)
        validates_default = (default or {}).get("validate_default")
        among = None
        if any(part.get("type") == "with-info" for part in parts):
            fields = {"type": "model-fields", "fields": {name: {"type": "model-field", "schema": node}}}
            among = SchemaValidator(self.defined(fields), self.config).validate_assignment
        holds_secret = any(_makes_secret(part) for part in parts)
        validator = SchemaValidator(own, self.config)
        # Otherwise NaN and the infinities would become null in values of type `Any`.
        config: Any = {**(self.config or {}), "ser_json_inf_nan": "constants"}
        serializer = SchemaSerializer(own, config)
        return Key(
            name=name,
            validate=validator.validate_python,
            validate_among=among,
            validate_json=validator.validate_json,
            dump=lambda value, help: serializer.to_python(value, mode="json", fallback=help, warnings=False),
            aliases=_alias_ways(field.get("validation_alias")),
            default=default,
            validates_default=bool(
                (self.config or {}).get("validate_default") if validates_default is None else validates_default
            ),
            shared=Shared.__name__ in marks,
            output=Output.__name__ in marks or field.get("init") is False,
            excluded=bool(field.get("serialization_exclude")),
            secret=holds_secret,
            inner=frozenset(chain.from_iterable(map(_names_in, parts))) if holds_secret else frozenset(),
            required=default is None and field.get("required") is not False,
            beside=self.fields.keys() if self.others is None else None,
            core=own,
            fingerprint=cache(lambda: digest(repr(stable_form(own)).encode())),
            domain=_domain_of(node, definitions),
        )


def _shape_kind(shape: Any) -> str:
    """Return the kind of a shape; raise SchemaError if it has no keys."""
    cls = get_origin(shape) or shape
    if cls in (dict, Mapping):
        return "dict"
    if is_typeddict(cls):
        return "typed-dict"
    if is_dataclass(cls) and isinstance(cls, type):
        return "dataclass"
    if is_model(cls):
        return "model"
    name = shape_name(shape)
    if isinstance(shape, str):
        raise SchemaError(name, "a context is made over a type, not over the name of one; write it without quotes")
    if isinstance(shape, TypeVar):
        raise SchemaError(
            shape.__name__, f"a type variable says nothing yet; write a type in place of {shape.__name__}"
        )
    if getattr(cls, "_is_protocol", False):
        raise SchemaError(
            name,
            f"a protocol declares the needs of a step, as in Context[{name}]; make the context over a model with it",
        )
    reason = "it declares no keys; a context is made over a Pydantic model, a TypedDict, a dataclass or dict[str, V]"
    if isinstance(cls, type):
        reason += f". For keys of your own choice that all hold this type write FrozenContext[dict[str, {name}]]"
    raise SchemaError(name, reason)


def is_model(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, BaseModel) and not cls.__pydantic_root_model__


def _core_schema_of(shape: Any, name: str) -> CoreNode:
    try:
        adapter = TypeAdapter[Any](shape)
        if not isinstance(adapter.core_schema, dict):
            # `defer_build` has postponed it, or it refers to a class within a function.
            adapter.rebuild(force=True, _types_namespace=caller_namespace())
    except PydanticUndefinedAnnotation as error:
        reason = (
            f"it refers to {error.name!r}, which is not defined in its module nor where the context is made; define"
            f" {error.name} there, or write the type without quotes and without `from __future__ import annotations`"
        )
        raise SchemaError(name, reason) from error
    except PydanticUserError as error:
        raise SchemaError(name, _unchecked(shape) or _reason(error)) from error
    except CoreSchemaError as error:
        raise SchemaError(name, _unchecked(shape) or _not_built(str(error))) from error
    node: Any = adapter.core_schema
    return dict(node)


def _unchecked(shape: Any) -> str | None:
    """Return the reason why values of a shape cannot be checked by `isinstance`; None if they can."""
    if (found := unchecked_class(shape)) is None:
        return None
    key, cls = f"{found[0]!r}: " if found[0] else "", shape_name(found[1])
    advice = f"if {cls} is a Protocol, decorate it with @typing.runtime_checkable, or declare another class, or Any"
    return f"{key}isinstance cannot check a value against {cls}; {advice}"


def _not_built(text: str) -> str:
    """Return the reason why a validator cannot be built, after the field, from the lines that lead to it."""
    field = re.search(r"""Field ['"](.+?)['"]:""", text)
    reason = " ".join(text.rpartition("SchemaError: ")[2].split())
    return f"{field[1]!r}: {reason}" if field else reason


def _reason(error: PydanticUserError) -> str:
    if error.code == "typed-dict-version":
        return "before Python 3.12 Pydantic needs its TypedDict to be the one of typing_extensions; import that one"
    message, advice, _ = (error.message or str(error)).partition("\n")[0].partition(". Set `arbitrary_types_allowed")
    # Pydantic's advice applies to models only, and this type may not be in a model.
    return f"{message}; use a model with arbitrary_types_allowed=True" if advice else message


def _top(node: CoreNode, definitions: dict[str, CoreNode]) -> Iterator[CoreNode]:
    """Yield the nodes that apply to a whole value, but not the nodes of parts of the value."""
    yield node
    inner = definitions.get(node["schema_ref"]) if node["type"] == "definition-ref" else node.get("schema")
    if isinstance(inner, dict) and inner["type"] not in ("model", "dataclass") and node["type"] not in _HOLDERS:
        yield from _top(inner, definitions)
    for choice in node.get("choices", ()) if node["type"] == "union" else ():
        yield from _top(choice[0] if isinstance(choice, tuple) else choice, definitions)


_HOLDERS = ("model", "dataclass")


def _marks(nodes: Iterable[CoreNode]) -> set[str]:
    """Return the names of the markers, such as `Shared`, on some nodes."""
    return {mark for node in nodes for mark in node.get("metadata", {}).get("crystallize", ())}


_READ_ONCE = "the items of {} can be read only once, and every reader needs them; write list[...] or Sequence[...]"


def _is_read_once(node: CoreNode, definitions: dict[str, CoreNode]) -> bool:
    """Whether a value of a node contains an iterator, which validates its items while it is read."""
    return any(part.get("type") == "generator" for part in _nodes_in(node, definitions))


def _nodes_in(node: Any, definitions: dict[str, CoreNode]) -> Iterator[CoreNode]:
    """Yield every node in a node, and in the definitions that it refers to."""
    met: set[str] = set()
    rest = [node]
    while rest:
        item = rest.pop()
        if isinstance(item, dict):
            yield item
            rest += [part for name, part in item.items() if name not in ("metadata", "config")]
            ref = item.get("schema_ref")
            if isinstance(ref, str) and ref in definitions and ref not in met:
                met.add(ref)
                rest.append(definitions[ref])
        elif isinstance(item, list | tuple):
            rest += item


def _names_in(part: CoreNode) -> Iterator[str]:
    """Yield the names and the aliases of the fields of a node."""
    fields = part.get("fields") or {}
    if part.get("type") == "dataclass-args":
        fields = {field["name"]: field for field in fields}
    # The `fields` of a dataclass node are a list of names; its arguments have these names too.
    for name, field in fields.items() if isinstance(fields, dict) else ():
        yield name
        yield from (step for way in _alias_ways(field.get("validation_alias")) for step in way if isinstance(step, str))


def _allows_more(node: CoreNode) -> bool:
    """Whether a TypedDict allows undeclared keys. The oldest versions of Pydantic store that only in the config."""
    behavior = node.get("extra_behavior", (node.get("config") or {}).get("extra_fields_behavior"))
    return behavior == "allow" or "extras_schema" in node


def _makes_secret(part: CoreNode) -> bool:
    """Whether a node validates or serializes one of Pydantic's secret types."""
    function = part.get("function")
    if isinstance(function, type):
        return is_secret(function)
    name = getattr(function, "__qualname__", "")
    return getattr(function, "__module__", "") == "pydantic.types" and "secret" in name.lower()


def _alias_ways(alias: Any) -> tuple[tuple[str | int, ...], ...]:
    """Return the paths of an alias, which is a name, a path, or a list of paths."""
    if alias is None:
        return ()
    if isinstance(alias, str):
        return ((alias,),)
    return tuple(map(tuple, alias)) if isinstance(alias[0], list) else (tuple(alias),)


def make_model(cls: Any, values: dict[str, Any], written: set[str]) -> Any:
    """Return an instance of a model without running its validators."""
    own = {name: values[name] for name in values if name in cls.__pydantic_fields__}
    extra = {name: values[name] for name in values if name not in own}
    instance = cls.__new__(cls)
    object.__setattr__(instance, "__dict__", own)
    object.__setattr__(instance, "__pydantic_fields_set__", written)
    object.__setattr__(instance, "__pydantic_extra__", extra if cls.model_config.get("extra") == "allow" else None)
    object.__setattr__(instance, "__pydantic_private__", None)
    if cls.__pydantic_post_init__:
        instance.model_post_init(None)
    return instance
