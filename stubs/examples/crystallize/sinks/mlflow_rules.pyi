# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""What MLflow takes: names, numbers, texts and files; and what a schema has that it would not take."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias
from ..metrics import MetricSchema
from ..protocols import DeclaredKey

__all__ = [
    "LONGEST_NAME",
    "LONGEST_TEXT",
    "Naming",
    "Template",
    "as_text",
    "named",
    "problems_of",
    "unfit_file",
    "unfit_name",
    "unfit_number",
    "unfit_step",
    "unfit_text",
]
LONGEST_NAME: int
LONGEST_TEXT: int
Template: TypeAlias = str | Callable[[str, Mapping[str, Any]], str]
"""What names a metric by its tags, a text as "{metric}/{split}" or a function of the metric's name and its tags."""

def named(metric: str, tags: Mapping[str, Any]) -> str:
    """Return the name that a metric has in MLflow by default: "loss/split-train".

    Args:
        metric: The metric's name.
        tags: Its tags, without the one that is MLflow's step, and without those that are None.

    Example:
        >>> named("loss", {"split": "train"})
        'loss/split-train'
    """

class Naming:
    """Names metrics by their tags, as a template says.

    Attributes:
        step_tag: The tag that is MLflow's step and in no name; None where none is.
    """

    step_tag: str | None

    def __init__(self, template: Template, step_tag: str | None) -> None: ...
    def name(self, metric: str, tags: Mapping[str, Any]) -> str:
        """Return the name of a metric by its tags.

        Raises:
            ValueError: The template does not go with the tags.
        """

    def problem(self) -> str | None:
        """Return what is wrong with the template itself."""

def unfit_name(name: str) -> str | None:
    """Return why MLflow would not take a name of a param or metric; None where it would."""

def unfit_number(value: Any) -> str | None:
    """Return why MLflow would not keep a value as it is; None where it would."""

def unfit_step(value: Any) -> str | None:
    """Return why a tag's value cannot be MLflow's step; None where it can."""

def unfit_file(name: str) -> str | None:
    """Return why MLflow would not keep a file under its name; None where it would."""

def as_text(value: Any) -> str:
    """Return a value as the text of a param: numbers and texts as they are, others as JSON, or else in short."""

def unfit_text(text: str) -> str | None:
    """Return why MLflow would not keep the text of a param; None where it would."""

def problems_of(schema: Mapping[str, DeclaredKey], metrics: type[MetricSchema] | None, naming: Naming) -> Iterator[str]:
    """Return what MLflow would not take of what a context holds and measures, each as a sentence.

    Args:
        schema: The keys of the context.
        metrics: What may be measured; None where that is anything.
        naming: What names the metrics.
    """
