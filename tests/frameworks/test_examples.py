"""The examples of the docstrings run, where the frameworks are installed."""

from importlib import import_module

import pytest

import crystallize

from ..docs.test_reference import FRAMEWORKS
from ..examples import example_of, what_fails


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_example_runs(framework: str) -> None:
    """The example of a callback prints what it says."""
    module = import_module(f"crystallize.callbacks.{framework}")
    (name,) = module.__all__
    names = {name: getattr(crystallize, name) for name in crystallize.__all__}

    assert "" == what_fails(example_of(getattr(module, name)), {**names, name: getattr(module, name)})
