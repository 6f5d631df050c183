"""The names that metrics have in the backend of a sink, made of their tags; and the parts of a schema that do not fit.

A sink says in a `Backend` which names its backend accepts.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from enum import Enum
from itertools import islice, product
from string import Formatter
from typing import Any, Final, NamedTuple, TypeAlias

from pydantic_core import PydanticSerializationError, to_json

from .._base.text import error_line, legible, nearest, short
from .._base.type_hints import choices_of, classes_of, key_types
from .._core.metrics import Metric, MetricSchema
from .._core.protocols import DeclaredKey
from .undelivered import Undelivered

__all__ = ["Backend", "Naming", "PointNames", "Template", "as_text", "named", "problems_of", "unfit_step"]

_COMBINATIONS: Final = 10_000
"""The maximum number of names of one metric that are checked before the run."""

Template: TypeAlias = str | Callable[[str, Mapping[str, Any]], str]
"""A text such as "{metric}/{split}", or a function of a metric's name and its tags, that names the metric there."""


def named(metric: str, tags: Mapping[str, Any]) -> str:
    """Return the name that a metric has in a backend by default: "loss/split-train".

    Args:
        metric: The metric's name.
        tags: Its tags, without the tag that is the step, and without tags that are None.

    Example:
        >>> named("loss", {"split": "train"})
        'loss/split-train'
    """
    return "/".join([metric, *(f"{tag}-{tags[tag]}" for tag in sorted(tags))])


class Backend(NamedTuple):
    """A backend, and the names that it accepts."""

    title: str
    noun: str
    """The backend's word for an input."""
    unfit_name: Callable[[Any], str | None]
    """Returns why the backend would reject the name of a metric, or None."""
    unfit_input: Callable[[Any], str | None]
    """Returns why the backend would reject the name of an input, or None."""


class Naming:
    """Names metrics by their tags and a template."""

    def __init__(self, backend: Backend, template: Template, step_tag: str | None) -> None:
        self.backend = backend
        self.step_tag = step_tag
        """The tag that is the backend's step, which is left out of the names."""
        self._template = template

    def name(self, metric: str, tags: Mapping[str, Any]) -> str:
        """Return the name of a metric with its tags. Raise ValueError if the template asks for another tag."""
        others = {tag: _plain(value) for tag, value in tags.items() if tag != self.step_tag and value is not None}
        if not isinstance(self._template, str):
            return self._template(metric, others)
        try:
            return self._template.format_map({**others, "metric": metric})
        except KeyError as error:
            raise ValueError(f"it has no tag {error}, which the template {self._template!r} asks for") from None

    def problem(self) -> str | None:
        """Return why the template is invalid, or None if it is valid."""
        if not isinstance(self._template, str):
            return None
        try:
            fields = [field for _, field, _, _ in Formatter().parse(self._template) if field is not None]
        except ValueError as error:
            return f"the template {self._template!r} is none ({error})"
        unfit = [field for field in fields if not re.fullmatch(r"\w+", field) or field.isdigit()]
        if unfit:
            return (
                f"the template {self._template!r} may ask for the metric and for tags by their names, not {unfit[0]!r}"
            )
        return None


class PointNames:
    """Names points one after another. Each name is made and checked once."""

    def __init__(self, naming: Naming, undelivered: Undelivered) -> None:
        self._naming = naming
        self._undelivered = undelivered
        self._names: dict[Any, str] = {}
        """The names of metrics, by metric and tags."""

    def of(self, metric: str, tags: Mapping[str, Any]) -> str | None:
        """Return the name of a metric with its tags; note the point as undelivered and return None if there is none."""
        # With the types, since True and 1 are equal, but have different names.
        others = tuple((tag, type(value), value) for tag, value in tags.items() if tag != self._naming.step_tag)
        try:
            return self._names[metric, others]
        except (KeyError, TypeError):  # a new name, or a tag that is not hashable
            pass
        try:
            name = self._naming.name(metric, tags)
        except Exception as error:  # of any kind: the template is the user's function
            self._undelivered.note("point", f"metric {metric!r} has no name: {error_line(error)}")
            return None
        reason = self._naming.backend.unfit_name(name)
        if reason is not None:
            self._undelivered.note("point", f"the name of metric {metric!r}, {short(name)}, {reason}")
            return None
        with suppress(TypeError):
            self._names[metric, others] = name
        return name

    def step_of(self, tags: Mapping[str, Any], position: int) -> Any:
        """Return the value of the tag that is the step, or the index of the point if it has no such tag."""
        step = tags.get(self._naming.step_tag or "")
        return position if step is None else step


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def unfit_step(value: Any, title: str) -> str | None:
    """Return why a tag's value cannot be the step of a backend, or None."""
    if not isinstance(value, int) or isinstance(value, bool):
        return f"is a {type(value).__name__}, and {title}'s step is an int"
    return None if -(2**63) <= value < 2**63 else f"does not go into 64 bits, as {title}'s step has to"


def as_text(value: Any) -> str:
    """Return a value as the text of a param: numbers and texts as they are, others as JSON if they can be."""
    if isinstance(value, str):
        return legible(str.__str__(_plain(value)))
    if value is None or isinstance(value, bool | int | float):
        return str(_plain(value))
    try:
        return to_json(value).decode()
    except (PydanticSerializationError, ValueError):
        return short(value)


def problems_of(schema: Mapping[str, DeclaredKey], metrics: type[MetricSchema] | None, naming: Naming) -> Iterator[str]:
    """Yield a sentence for each key and metric that the backend would reject."""
    backend = naming.backend
    for key, declared in schema.items():
        if declared.is_input and (reason := backend.unfit_input(key)):
            yield f"the name of key {short(key)}, which would be a {backend.noun}, {reason}"
    wrong = naming.problem()
    if wrong is not None:
        yield wrong
    found = MetricSchema.metrics if metrics is None else metrics.metrics
    tags = {name: key_types(metric.tags, metric.checks.tag_names) for name, metric in found.items()}
    step_tag, known = naming.step_tag, list(dict.fromkeys(tag for types in tags.values() for tag in types))
    if found and step_tag is not None and step_tag not in known:
        near = nearest(step_tag, known)
        yield f"no metric has a tag {step_tag!r} to be {backend.title}'s step" + (
            f"; did you mean {near!r}?" if near else ""
        )
    owners: dict[str, str] = {}
    for name, metric in found.items():
        yield from _problems_of_metric(metric, tags[name], naming)
        if wrong is None:
            yield from _problems_of_names(name, tags[name], naming, owners)


def _problems_of_metric(metric: Metric[Any, Any], tags: Mapping[Any, Any], naming: Naming) -> Iterator[str]:
    title, step_tag = naming.backend.title, naming.step_tag
    kinds = classes_of(metric.type)
    if kinds is not None and not any(issubclass(kind, int | float) for kind in kinds):
        yield f"the values of metric {metric.name!r} are of type {_listed(kinds)}, and {title} takes numbers"
    kinds = classes_of(tags[step_tag]) if step_tag in tags else None
    if kinds is not None and not any(issubclass(kind, int) and kind is not bool for kind in kinds):
        yield f"tag {step_tag!r} of metric {metric.name!r} is of type {_listed(kinds)}, and {title}'s step is an int"


def _listed(kinds: frozenset[type]) -> str:
    return " or ".join(sorted(kind.__name__ for kind in kinds))


def _problems_of_names(metric: str, tags: Mapping[str, Any], naming: Naming, owners: dict[str, str]) -> Iterator[str]:
    """Yield the problems of the names that a metric can have, and add these names to `owners`."""
    choices = {tag: choices_of(type) or _example(type) for tag, type in tags.items() if tag != naming.step_tag}
    found: set[str] = set()
    for values in islice(product(*choices.values()), _COMBINATIONS):
        try:
            name = naming.name(metric, dict(zip(choices, values, strict=True)))
        except Exception as error:  # of any kind: the template is the user's function
            problem = f"metric {metric!r} has no name in {naming.backend.title}: {error}"
        else:
            owner, reason = owners.setdefault(name, metric), naming.backend.unfit_name(name)
            problem = "" if reason is None else f"the name of metric {metric!r}, {short(name)}, {reason}"
            if owner != metric:
                problem = f"metrics {owner!r} and {metric!r} would both be named {name!r}"
        if problem and problem not in found:
            found.add(problem)
            yield problem


def _example(type: Any) -> tuple[Any, ...]:
    """Return one value of a type whose values cannot be listed."""
    kinds = classes_of(type) or frozenset()
    return (next((kind(1) for kind in (bool, int, float) if kind in kinds), "x"),)
