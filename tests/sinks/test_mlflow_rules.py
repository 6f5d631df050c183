"""The names, numbers, texts and files that MLflow accepts; without MLflow."""

from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystallize.sinks.mlflow.rules import unfit_file, unfit_name, unfit_number, unfit_text


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("loss", None),
        ("loss/split-train", None),
        ("a.b c:d-e_f", None),
        ("größe", None),
        ("x" * 250, None),
        ("x" * 251, "has 251 characters, and MLflow takes 250"),
        ("", "is empty"),
        ("a=b", "has '='; MLflow takes letters, digits, and any of '_-./: '"),
        ("/a", "is no plain path, as MLflow wants it; it would be read as '/a'"),
        ("a//b", "is no plain path, as MLflow wants it; it would be read as 'a/b'"),
        ("a/../b", "is no plain path, as MLflow wants it; it would be read as 'b'"),
        ("..", "is no plain path, as MLflow wants it; it would be read as '..'"),
        (".", "is no plain path, as MLflow wants it; it would be read as '.'"),
        (3, "is no text but 3"),
    ],
)
def test_names(name: Any, reason: str | None) -> None:
    """A name is taken, or it is said why it would not be."""
    assert reason == unfit_name(name)


@pytest.mark.parametrize("value", [0, 1, -1, 0.5, True, 2**53, 1e308, 5e-324, -0.0])
def test_numbers(value: float) -> None:
    """What a float holds exactly is sent."""
    assert unfit_number(value) is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (nan, "it is NaN, which MLflow would spoil"),
        (inf, "it is infinite, which MLflow would make 1.797e308"),
        (-inf, "it is infinite, which MLflow would make 1.797e308"),
        (2**53 + 1, "it is an int that no float holds, and MLflow keeps floats"),
        (10**400, "it is an int that no float holds, and MLflow keeps floats"),
        ("0.5", "it is a str, and MLflow takes numbers"),
        (None, "it is a NoneType, and MLflow takes numbers"),
        ([0.5], "it is a list, and MLflow takes numbers"),
    ],
)
def test_what_is_no_number(value: Any, reason: str) -> None:
    """What MLflow would change or refuse is not sent, and it is said why."""
    assert reason == unfit_number(value)


@given(st.integers() | st.floats())
def test_a_number_is_kept_or_withheld(value: float) -> None:
    """Whatever is sent is equal to what was recorded."""
    if unfit_number(value) is None:
        assert value == float(value)
        assert abs(float(value)) < inf


@pytest.mark.parametrize("name", ["plot.svg", "100%.txt", "größe.png", "a b", "日本.svg"])
def test_files(name: str) -> None:
    """Names that MLflow keeps are taken."""
    assert unfit_file(name) is None


@pytest.mark.parametrize("name", ["a#b", "a%20b", "ab%2Fc"])
def test_files_under_other_names(name: str) -> None:
    """A file that MLflow would keep under another name is not sent."""
    assert "MLflow would read its name as part of an address, and another name out of it" == unfit_file(name)


def test_long_texts() -> None:
    """A text that MLflow would cut is not sent."""
    assert unfit_text("x" * 6000) is None
    assert "it has 6,001 characters as a text, and MLflow would cut it after 6,000" == unfit_text("x" * 6001)
