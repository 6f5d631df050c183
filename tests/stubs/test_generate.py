"""Stubs that know the keys of schemas: what they are made of, and what happens to a folder of them."""

import ast
import sys
from pathlib import Path

import pytest

import crystallize
from crystallize import StubsError
from crystallize.stubs import Stubs, make_stubs

MODULES = ["pipeline.schemas", "pipeline.tuning"]
PROTOCOLS = "crystallize/_core/protocols.pyi"
TEXT = "crystallize/_base/text.pyi"
GOLDEN = Path(__file__).parents[1] / "typing/golden_stub.txt"


@pytest.fixture(scope="module")
def stubs() -> Stubs:
    return make_stubs(MODULES)


@pytest.mark.slow
def test_stands_for_the_package(stubs: Stubs) -> None:
    """There is a stub for each module, and each is Python."""
    package = Path(crystallize.__file__).parent
    modules = {
        f"crystallize/{path.relative_to(package).with_suffix('.pyi').as_posix()}" for path in package.rglob("*.py")
    }

    assert modules == set(stubs.files)
    for text in stubs.files.values():
        ast.parse(text)


def test_golden() -> None:
    """The stub of the module of `Context` has the content of the golden file, which `make stubs` writes."""
    made = make_stubs(["pipeline.tuning"]).files[PROTOCOLS]

    assert ast.unparse(ast.parse(GOLDEN.read_text(encoding="utf-8"))) == ast.unparse(ast.parse(made))


def test_says_what_it_knows(stubs: Stubs) -> None:
    """The schemas and metrics that have their types in it are named in full."""
    assert {"pipeline.schemas.Train", "pipeline.tuning.Train", "pipeline.schemas.Batch"} <= {*stubs.schemas}
    assert ("accuracy", "loss", "rows") == stubs.metrics
    assert () == stubs.refused


@pytest.mark.slow
def test_same_each_time(stubs: Stubs) -> None:
    """The same schemas give the same files, in whatever order their modules are given, and however often."""
    assert stubs == make_stubs([*reversed(MODULES), MODULES[0]])


@pytest.mark.slow
def test_head(stubs: Stubs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file says what it is made of, and carries a digest of the schemas and of the version."""
    first, second, third, *_ = stubs.files[PROTOCOLS].splitlines()

    assert first == "# Written by `crystallize stubs`: run it again in place of a change by hand."
    assert second == "# Of pipeline.schemas, pipeline.tuning."
    assert third.startswith(f"# crystallize {crystallize.__version__}, schemas and version: ")
    assert all(third in text for text in stubs.files.values())
    assert third not in make_stubs(MODULES[:1]).files[PROTOCOLS]
    monkeypatch.setattr("crystallize._stubs.generate.version", lambda name: crystallize.__version__ + "1")
    assert third.rpartition(" ")[2] not in make_stubs(MODULES).files[PROTOCOLS]


@pytest.mark.slow
def test_write(stubs: Stubs, tmp_path: Path) -> None:
    """All files are written the first time, and what has not changed is left alone from then on."""
    folder = tmp_path / "a/stubs"
    assert {"missing"} == {change.how for change in stubs.changed(folder)}
    assert not folder.exists()

    assert len(stubs.files) == len(stubs.write(folder))
    assert dict(stubs.files) == {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in folder.rglob("*.pyi")
    }
    assert [] == stubs.changed(folder) == stubs.write(folder)


def test_what_has_changed(stubs: Stubs, tmp_path: Path) -> None:
    """A file that was changed, deleted or is no more part of it is found, and put right by writing again."""
    stubs.write(tmp_path)
    (tmp_path / PROTOCOLS).write_text(stubs.files[PROTOCOLS] + "x: int\n")
    (tmp_path / TEXT).unlink()
    old = tmp_path / "crystallize/gone.pyi"
    old.write_text(stubs.files[PROTOCOLS])

    expected = [("text.pyi", "missing"), ("protocols.pyi", "stale"), ("gone.pyi", "left over")]
    assert expected == [(change.path.name, change.how) for change in stubs.changed(tmp_path)]
    assert expected == [(change.path.name, change.how) for change in stubs.write(tmp_path)]
    assert [] == stubs.changed(tmp_path)
    assert not old.exists()


@pytest.mark.slow
def test_keeps_what_is_not_its_own(stubs: Stubs, tmp_path: Path) -> None:
    """Stubs of other packages, and what else lies beside these, stay as they are."""
    others = [tmp_path / "sklearn/__init__.pyi", tmp_path / "crystallize/own.pyi", tmp_path / "crystallize/notes.txt"]
    for other in others:
        other.parent.mkdir(exist_ok=True)
        other.write_text("x: int\n")
    stubs.write(tmp_path)

    assert ["x: int\n"] * 3 == [other.read_text() for other in others]
    assert [] == stubs.changed(tmp_path)


@pytest.mark.slow
def test_does_not_write_over(stubs: Stubs, tmp_path: Path) -> None:
    """A stub of the package that somebody else has written is not written over, and nothing else is written."""
    theirs = tmp_path / PROTOCOLS
    theirs.parent.mkdir(parents=True)
    theirs.write_text("x: int\n")

    with pytest.raises(
        StubsError, match=r"protocols\.pyi: it was not written by this command, and is not written over"
    ):
        stubs.write(tmp_path)
    assert [theirs] == [*theirs.parent.iterdir()]


@pytest.mark.slow
def test_folders_that_will_not_do(stubs: Stubs, tmp_path: Path) -> None:
    """A file is no folder, and the package's own folder is none for stubs."""
    (tmp_path / "file").touch()

    with pytest.raises(StubsError, match=r"file: it is a file; -o names the folder of the stubs"):
        stubs.write(tmp_path / "file")
    with pytest.raises(StubsError, match="the package itself exists; -o names a folder of stubs, as stubs"):
        stubs.write(Path(crystallize.__file__).parents[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "kind", "told"),
    [
        (f"stubs/{TEXT}", "folder", "it is no file, and the stubs have one there; move it"),
        (
            f"stubs/{TEXT}",
            "link",
            "it is a link to nothing, and the stubs have a file there; move it",
        ),
        ("stubs/crystallize/sinks", "file", "it is no folder, and the stubs have one there; move it"),
        ("stubs/crystallize/sinks", "link", "it is a link to nothing, and the stubs have a folder there; move it"),
        ("stubs/crystallize", "file", "it is no folder, and the stubs have one there; move it"),
        ("stubs", "link", "it is a link to nothing, and the stubs have a folder there; move it"),
    ],
)
def test_something_else_in_its_place(stubs: Stubs, tmp_path: Path, place: str, kind: str, told: str) -> None:
    """Where something else stands in the place of a file or a folder, that is named, and nothing is written."""
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.touch()
    else:
        path.symlink_to(tmp_path / "nowhere")
    before = [*tmp_path.rglob("*")]

    with pytest.raises(StubsError) as caught:
        stubs.write(tmp_path / "stubs")
    assert str(path) == caught.value.subject
    assert caught.value.reason.startswith(told)
    assert before == [*tmp_path.rglob("*")]


@pytest.mark.slow
def test_folder_within_a_file(stubs: Stubs, tmp_path: Path) -> None:
    """A folder that would lie within a file names the file."""
    (tmp_path / "file").touch()

    with pytest.raises(StubsError, match=r"/file: it is no folder, and the stubs have one there"):
        stubs.write(tmp_path / "file/stubs")


@pytest.mark.slow
def test_keys_are_no_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A key of any characters stays a text in what is written."""
    keys = ['a"b', "it's", "#", 'x"]) -> int: ...\n    import os', "\\", "ключ"]
    fields = ", ".join(f"{key!r}: int" for key in keys)
    source = f"from typing_extensions import TypedDict\nOdd = TypedDict('Odd', {{{fields}}})\n"
    (tmp_path / "of_odd_keys.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "of_odd_keys", raising=False)
    tree = ast.parse(make_stubs(["of_odd_keys"]).files[PROTOCOLS])
    (taker,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "_Odd_getitem"]
    found = [part.value for part in ast.walk(taker) if isinstance(part, ast.Constant) and isinstance(part.value, str)]

    assert keys == found
