"""The pictures of the docs show what happened, and each page of the concepts has one."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pictures
import pytest
import scenes

from crystallize import Run
from crystallize._tables.run_description import Description, describe

pytestmark = pytest.mark.slow

CONCEPTS = Path(__file__).parents[2] / "docs/concepts"
PAGES = sorted(path.stem for path in CONCEPTS.glob("*.md") if path.stem != "index")


@pytest.fixture(scope="module")
def killed_runs() -> list[Description]:
    """The run that is drawn as killed, once `drawn` has made it."""
    return []


@pytest.fixture(scope="module")
def drawn(killed_runs: list[Description]) -> dict[str, ElementTree.Element]:
    """All pictures, by name."""

    def killed_run(folder: Path) -> Run[Any]:
        run = scenes.killed_run(folder)
        killed_runs.append(describe(run))
        return run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "killed_run", killed_run)
        return {name: ElementTree.fromstring(picture) for name, picture in pictures.pictures()}


def texts(picture: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in picture.iter("{http://www.w3.org/2000/svg}text")]


def parts(picture: ElementTree.Element, kind: str) -> Iterator[ElementTree.Element]:
    return (element for element in picture.iter() if element.get("class") == kind)


def test_one_picture_a_page(drawn: dict[str, ElementTree.Element]) -> None:
    """Each page of the concepts has one picture, and says what is on it; there is no other picture."""
    used = {}
    for page in PAGES:
        (used[page],) = re.findall(
            r"^```\{picture\} (\S+)\n:alt: \S.{80}", (CONCEPTS / f"{page}.md").read_text(encoding="utf-8"), re.M
        )

    assert {page: page for page in drawn} == used


def test_within_bounds(drawn: dict[str, ElementTree.Element]) -> None:
    """Nothing is drawn beyond the edge of a picture."""
    for name, picture in drawn.items():
        width, height = (float(side) for side in picture.attrib["viewBox"].split()[2:])
        for element in picture.iter():
            assert 0 <= float(element.get("x", 0)) <= width, name
            assert 0 <= float(element.get("y", 0)) <= height, name
            if element.tag.endswith("rect"):
                assert float(element.attrib["x"]) + float(element.attrib["width"]) <= width, name


def test_a_key_is_written_once(drawn: dict[str, ElementTree.Element]) -> None:
    """Of the lines that are drawn one writes each key, and each error stands by the line that raised it."""
    found = scenes.deeds()

    written = [key for line in found for key, deed in line.deeds.items() if deed == "written"]
    assert ["lr", "epochs", "accuracy"] == written
    errors = ["ContextMutationError", "AbsentKeyError", "InvalidValueError", "ContextMutationError"]
    assert errors == [line.error for line in found if line.error]
    assert set(errors) < set(texts(drawn["write-once"]))
    assert 5 == len(list(parts(drawn["write-once"], "refused")))  # with the one that explains the sign


def test_costs() -> None:
    """What is copied on a read takes longer to read than what is not, and what is deep-copied longest."""
    read = {cost.kind: cost.read for cost in scenes.costs()}

    for shared in ("one float", "tuple", "numpy array", "list, marked Shared"):
        assert read[shared] < read["list"]
        assert 5 * read[shared] < read["model with a list"]
    assert 5 * read["list"] < read["object of another class"]


def test_lineage(drawn: dict[str, ElementTree.Element]) -> None:
    """The steps stand in their order, and all that they wrote is drawn."""
    steps = ["load", "split", "fit", "evaluate"]

    assert steps == [text for text in texts(drawn["steps"]) if text in steps]
    assert 5 + 1 == len(list(parts(drawn["steps"], "write")))


def test_killed_run(drawn: dict[str, ElementTree.Element], killed_runs: list[Description]) -> None:
    """The run that is drawn was killed and went on: what had finished was not done again."""
    (run,) = killed_runs

    assert ["died", "finished"] == [session.outcome for session in run.sessions]
    sessions = {step.name: step.session for step in run.steps}
    assert [1, 1, 2, 2] == [sessions[name] for name in ("load", "fit/epoch-3", "fit/epoch-5", "evaluate")]
    assert "fit" in [attempt.name for attempt in run.dead_attempts]
    assert list(parts(drawn["durability"], "dead"))


def test_folds(tmp_path: Path) -> None:
    """The branches that are drawn ended in another order than their own, in which their points stand."""
    folds = scenes.folds_run(tmp_path)

    branches = [f"fold-{k}" for k in range(4)]
    assert branches == sorted(folds.arrived)
    assert branches != folds.arrived
    assert [name for name in branches for _ in range(3)] == [point.step for point in folds.run.metrics.series("loss")]
