"""`crystallize explain`: an error, explained with an example and a remedy."""

from typing import Annotated

import typer

from .explanation import explanation_of


def explain(
    error: Annotated[str, typer.Argument(metavar="ERROR", help="The name of an error, such as UnknownKeyError.")],
) -> int:
    """Explain an error of crystallize: its cause, an example, and a remedy."""
    print(explanation_of(error))
    return 0
