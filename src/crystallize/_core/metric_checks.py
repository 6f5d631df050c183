"""Validate the values and the tags of a metric."""

import sys
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError
from typing_extensions import is_typeddict

from .._base.text import nearest, short, type_name
from ..errors import InvalidMetricError, InvalidTagError, MissingTagError, Problem, SchemaError
from .digest import digest
from .immutable_types import PLAIN
from .key import Key, shape_name
from .packed_columns import PointLayout
from .pydantic_core_schema import CoreShape, CoreType, is_model, make_model
from .schema import Schema
from .validation_problems import DEFINED_AGAIN, MISSING, problems_of, raised_in

# A loss is often recorded with its graph. PyTorch may be imported only after a step has recorded a metric. Then the
# fast recorder leaves the conversion of the loss to Pydantic, and the warning would name this package as the place.
warnings.filterwarnings("ignore", "Converting a tensor with requires_grad=True", UserWarning, r"crystallize\.")


class MetricChecks:
    """The validators of a metric's values and tags.

    Attributes:
        tag_names: The declared tags.
        layout: The layout of valid points.
        split: Returns tags by name if they are valid without a doubt, and raises otherwise. None if the types of the
            metric or its tags also allow values other than numbers, bools and texts.
        tag_count: The required number of tags, if `split` does not check for undeclared tags; else None.
        tag_keys: The declaration of each tag.
        tag_model: The model of the tags; None if tags are dicts, or if the metric has no tags.
        type: The type of the values.
        validate: Validates a value.
        validate_in_order: Validates the tags of a layout that names them, given as a tuple in its order; else None.
        validate_tags: Validates tags, given as a mapping; None if the metric has no tags.
    """

    __slots__ = (
        *("__dict__", "_open", "layout", "split", "tag_count", "tag_keys", "tag_model", "tag_names", "type"),
        *("validate", "validate_in_order", "validate_tags"),
    )

    def __init__(self, metric: str, type: Any, tags: Any) -> None:
        core = _without_secrets(CoreType(type, f"metric {metric!r}"), metric)
        self.type = type
        self.validate: Callable[[Any], Any] = core.validator()
        self.split: Callable[[Any], dict[str, Any]] | None = _no_tags if core.is_number else None
        self.tag_count: int | None = None
        self.validate_in_order: Callable[[Any], tuple[Any, ...]] | None = None
        self.validate_tags: Callable[[Any], Any] | None = None
        self.tag_model: Any = None
        self.tag_keys: dict[str, Key] = {}
        self._open = False
        self.layout: PointLayout = PointLayout(core.exact_type, {} if tags is None else None)
        if tags is not None:
            self._take_tags(metric, tags)
        self.tag_names: tuple[str, ...] = tuple(self.tag_keys)

    @property
    def is_plain(self) -> bool:
        """Whether all valid values and tags are numbers, bools or texts."""
        kind, kinds = self.layout
        return kind is not None and kinds is not None and None not in kinds.values()

    @cached_property
    def value_key(self) -> Key:
        """The declaration of a key whose values have the type of this metric's values."""
        others = Schema(dict[str, self.type]).others  # type: ignore[name-defined]  # a type that only runtime knows
        assert others is not None
        return others

    @property
    def fingerprint(self) -> str:
        """A text that is the same in every process for the same types of values and tags."""
        return digest(",".join([*sorted(self.tag_keys), *(key.fingerprint() for key in self.keys)]).encode())

    @property
    def keys(self) -> list[Key]:
        """The types of the value and of the tags, as keys."""
        return [self.value_key, *(self.tag_keys[name] for name in sorted(self.tag_keys))]

    def _take_tags(self, metric: str, tags: Any) -> None:
        if not is_typeddict(get_origin(tags) or tags) and not is_model(get_origin(tags) or tags):
            raise SchemaError(f"metric {metric!r}", f"its tags are a TypedDict or a model, not {shape_name(tags)}")
        shape = CoreShape.of(tags)
        self.tag_keys = {name: shape.key(name, field) for name, field in shape.fields.items()}
        self._open = shape.others is not None
        core = _without_secrets(CoreType(tags, shape_name(tags)), metric)
        if is_model(get_origin(tags) or tags):
            self.tag_model = get_origin(tags) or tags
        self.validate_tags = core.validator(shape.config)
        if self.split is not None:
            self.split = self._splitter(core, shape)

    def _splitter(self, core: CoreType, shape: CoreShape) -> Callable[[Any], dict[str, Any]] | None:
        if self._open or not (shape.is_plain and core.is_tags):
            return None
        if self.tag_model is not None:
            return _model_splitter(self.tag_model)
        if not all(key.required and not key.aliases for key in self.tag_keys.values()):
            return self.validate_tags
        self.layout = PointLayout(self.layout.kind, shape.exact_types())
        self.validate_in_order = shape.tuple_validator()
        self.tag_count = len(self.tag_keys)
        # Counting is faster than checking for undeclared tags: with as many tags as are required, none is undeclared.
        return core.validator(shape.config, undeclared="ignore")

    @property
    def fast_validate(self) -> Callable[[Any], Any]:
        """Validates a value, which may be a tensor with its graph if PyTorch is already imported.

        A program without PyTorch has no tensors, and looking for one would take a fifth of the time of a point.
        """
        return self._validate_number if "torch" in sys.modules else self.validate

    def _validate_number(self, value: Any) -> Any:
        if type(value) is not float and getattr(value, "requires_grad", None) is True:
            value = value.detach()  # Python's conversion of it to a number warns
        return self.validate(value)

    def check(self, metric: str, value: Any) -> Any:
        """Return a validated value, or raise InvalidMetricError."""
        try:
            return self._validate_number(value)
        except ValidationError as error:
            problems = problems_of(error, ())
            failure = InvalidMetricError(metric, tuple(problems))
            cause = raised_in(error)
        raise failure from cause

    def check_tags(self, metric: str, tags: Any) -> dict[str, Any]:
        """Return validated tags by name, in a new dict, or raise InvalidTagError.

        Tags are a mapping, or an instance of their model, which is not validated again.
        """
        if self.validate_tags is None:
            if tags is None or tags == {}:
                return {}
            expected = "takes no tags (declare them: Metric(..., tags=...))"
            raise InvalidTagError(metric, (Problem((), expected, type(tags).__name__, short(tags)),))
        if self.tag_model is not None and isinstance(tags, BaseModel):
            return self._of_model(metric, tags)
        given: Any = {} if tags is None else tags
        problems = self._unknown(given)
        valid: Any = None
        cause = None
        try:
            valid = self.validate_tags(given)
        except ValidationError as error:
            # Unknown tags at the top level already have a problem, with the nearest name.
            named = {problem.location for problem in problems}
            problems += [problem for problem in problems_of(error, ()) if problem.location not in named]
            cause = raised_in(error)
        if problems:
            missing = any(problem.allowed == MISSING for problem in problems)
            raise (MissingTagError if missing else InvalidTagError)(metric, tuple(problems)) from cause
        return self._of_model(metric, valid) if self.tag_model is not None else dict(valid)

    def _of_model(self, metric: str, tags: BaseModel) -> dict[str, Any]:
        """Return the tags in an instance of their model."""
        if not isinstance(tags, self.tag_model):
            should = f"should be an instance of {shape_name(self.tag_model)} or a mapping"
            should += DEFINED_AGAIN if type_name(type(tags)) == type_name(self.tag_model) else ""
            raise InvalidTagError(metric, (Problem((), should, type(tags).__name__, short(tags)),))
        found = {**tags.__dict__, **(tags.__pydantic_extra__ or {})}
        unknown = [name for name in found if name in type(tags).__pydantic_fields__ and name not in self.tag_keys]
        if unknown and not self._open:
            raise InvalidTagError(metric, tuple(map(self.unknown, unknown)))
        declared = {*self.tag_keys, *unknown, *(tags.__pydantic_extra__ or {})}
        return {name: tag for name, tag in found.items() if name in declared}

    def make_tags(self, tags: dict[str, Any]) -> Any:
        """Return tags as readers get them: an instance of their model, or the dict itself."""
        return tags if self.tag_model is None else make_model(self.tag_model, tags, {*tags})

    def _unknown(self, tags: Any) -> list[Problem]:
        """Return the problems of undeclared tags, which a model would ignore."""
        if self._open or not isinstance(tags, Mapping):
            return []
        known = {*self.tag_keys, *(way[0] for key in self.tag_keys.values() for way in key.aliases)}
        return [self.unknown(str(name)) for name in tags if name not in known]

    def unknown(self, tag: str) -> Problem:
        """Return the problem of an undeclared tag."""
        near = nearest(tag, self.tag_names)
        declared = f"declared are {', '.join(self.tag_names)}" if self.tag_names else "it has none"
        hint = f"did you mean {near!r}?" if near else declared
        return Problem((tag,), f"is not a tag of this metric; {hint}", "", "")

    def check_tag(self, metric: str, tag: str, value: Any) -> Any:
        """Return the validated value of a tag that points are filtered by, or raise InvalidTagError."""
        if tag in self.tag_keys and self.tag_keys[tag].validate_among is None:
            try:
                return self.tag_keys[tag].validate(value)
            except ValidationError as error:
                failure = InvalidTagError(metric, tuple(problems_of(error, (tag,))))
        elif tag in self.tag_keys or self._open:
            return value
        else:
            failure = InvalidTagError(metric, (self.unknown(tag),))
        raise failure


def _without_secrets(core: CoreType, metric: str) -> CoreType:
    if core.holds_secret:
        raise SchemaError(f"metric {metric!r}", "a secret is not to be recorded; its type holds one")
    return core


def _no_tags(tags: None) -> dict[str, Any]:
    if tags is not None:
        raise TypeError("takes no tags")
    return {}


def _model_splitter(model: type[BaseModel]) -> Callable[[Any], dict[str, Any]]:
    count, plain = len(model.__pydantic_fields__), PLAIN

    def split(tags: Any) -> dict[str, Any]:
        found: dict[str, Any] = tags.__dict__.copy()
        if type(tags) is not model or len(found) != count:
            raise TypeError("not plainly tags of this model")
        for tag in found.values():
            if type(tag) not in plain:
                raise TypeError("not plainly tags of this model")
        return found

    return split
