"""The names, numbers, texts and files that MLflow accepts, and the parts of a schema that it would reject."""

import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from itertools import islice, product
from math import isinf, isnan
from posixpath import normpath
from string import Formatter
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from pydantic_core import PydanticSerializationError, to_json

from ..._base.text import legible, nearest, short
from ..._base.type_hints import choices_of, classes_of, key_types
from ..._core.metrics import Metric, MetricSchema
from ..._core.protocols import DeclaredKey

__all__ = [
    *("LONGEST_NAME", "LONGEST_TEXT", "Naming", "Template", "as_text", "named", "problems_of"),
    *("unfit_file", "unfit_name", "unfit_number", "unfit_step", "unfit_text"),
]

LONGEST_NAME: Final = 250
LONGEST_TEXT: Final = 6_000
_NAME = re.compile(r"[/\w.\- :]*")
_UNFIT = re.compile(r"[^/\w.\- :]")
_COMBINATIONS: Final = 10_000
"""The maximum number of names of one metric that are checked before the run."""

Template: TypeAlias = str | Callable[[str, Mapping[str, Any]], str]
"""A text such as "{metric}/{split}", or a function of a metric's name and its tags, that names the metric in MLflow."""


def named(metric: str, tags: Mapping[str, Any]) -> str:
    """Return the name that a metric has in MLflow by default: "loss/split-train".

    Args:
        metric: The metric's name.
        tags: Its tags, without the tag that is MLflow's step, and without tags that are None.

    Example:
        >>> named("loss", {"split": "train"})
        'loss/split-train'
    """
    return "/".join([metric, *(f"{tag}-{tags[tag]}" for tag in sorted(tags))])


class Naming:
    """Names metrics by their tags and a template."""

    def __init__(self, template: Template, step_tag: str | None) -> None:
        self.step_tag = step_tag
        """The tag that is MLflow's step, which is left out of the names."""
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


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def unfit_name(name: str) -> str | None:
    """Return why MLflow would reject the name of a param or metric, or None."""
    if not isinstance(name, str):
        return f"is no text but {short(name)}"
    if not name:
        return "is empty"
    if len(name) > LONGEST_NAME:
        return f"has {len(name)} characters, and MLflow takes {LONGEST_NAME}"
    if unfit := _UNFIT.search(name):
        return f"has {unfit[0]!r}; MLflow takes letters, digits, and any of '_-./: '"
    if normpath(name) != name or name.startswith(("..", "/")) or name == ".":
        return "is no plain path, as MLflow wants it; it would be read as " + repr(normpath(name))
    return None


def unfit_number(value: Any) -> str | None:
    """Return why MLflow would not store a value as it is, or None."""
    if not isinstance(value, int | float):
        return f"it is a {type(value).__name__}, and MLflow takes numbers"
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if isnan(number):
        return "it is NaN, which MLflow would spoil"
    if isinf(number) and isinstance(value, float):
        return "it is infinite, which MLflow would make 1.797e308"
    return None if number == value else "it is an int that no float holds, and MLflow keeps floats"


def unfit_step(value: Any) -> str | None:
    """Return why a tag's value cannot be MLflow's step, or None."""
    if not isinstance(value, int) or isinstance(value, bool):
        return f"is a {type(value).__name__}, and MLflow's step is an int"
    return None if -(2**63) <= value < 2**63 else "does not go into 64 bits, as MLflow's step has to"


def unfit_file(name: str) -> str | None:
    """Return why MLflow would not store a file under its name, or None."""
    if "#" in name or unquote(name) != name:
        return "MLflow would read its name as part of an address, and another name out of it"
    return None


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


def unfit_text(text: str) -> str | None:
    """Return why MLflow would not store the text of a param as it is, or None."""
    if len(text) > LONGEST_TEXT:
        return f"it has {len(text):,} characters as a text, and MLflow would cut it after {LONGEST_TEXT:,}"
    return None


def problems_of(schema: Mapping[str, DeclaredKey], metrics: type[MetricSchema] | None, naming: Naming) -> Iterator[str]:
    """Yield a sentence for each key and metric that MLflow would reject."""
    for key, declared in schema.items():
        if declared.is_input and (reason := unfit_name(key)):
            yield f"the name of key {short(key)}, which would be a param, {reason}"
    wrong = naming.problem()
    if wrong is not None:
        yield wrong
    found = MetricSchema.metrics if metrics is None else metrics.metrics
    tags = {name: key_types(metric.tags, metric.checks.tag_names) for name, metric in found.items()}
    step_tag, known = naming.step_tag, list(dict.fromkeys(tag for types in tags.values() for tag in types))
    if found and step_tag is not None and step_tag not in known:
        near = nearest(step_tag, known)
        yield f"no metric has a tag {step_tag!r} to be MLflow's step" + (f"; did you mean {near!r}?" if near else "")
    owners: dict[str, str] = {}
    for name, metric in found.items():
        yield from _problems_of_metric(metric, tags[name], naming.step_tag)
        if wrong is None:
            yield from _problems_of_names(name, tags[name], naming, owners)


def _problems_of_metric(metric: Metric[Any, Any], tags: Mapping[Any, Any], step_tag: str | None) -> Iterator[str]:
    kinds = classes_of(metric.type)
    if kinds is not None and not any(issubclass(kind, int | float) for kind in kinds):
        yield f"the values of metric {metric.name!r} are of type {_listed(kinds)}, and MLflow takes numbers"
    kinds = classes_of(tags[step_tag]) if step_tag in tags else None
    if kinds is not None and not any(issubclass(kind, int) and kind is not bool for kind in kinds):
        yield f"tag {step_tag!r} of metric {metric.name!r} is of type {_listed(kinds)}, and MLflow's step is an int"


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
            problem = f"metric {metric!r} has no name in MLflow: {error}"
        else:
            owner, reason = owners.setdefault(name, metric), unfit_name(name)
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
