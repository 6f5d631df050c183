"""The digest of a module that is not imported."""

import sys
from pathlib import Path

import pytest

from crystallize._core.module_sources import digest_of_sources


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which Python finds modules."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def write(folder: Path, **modules: str) -> None:
    """Write modules; two underscores in a name part a package from its module."""
    for name, source in modules.items():
        file = folder / (name.replace("__", "/") + ".py")
        file.parent.mkdir(exist_ok=True)
        file.write_text(source)


@pytest.mark.parametrize(
    "changed",
    [
        {"made_top": "import made_lib\nx = 2"},
        {"made_lib": "from made_pack import inner\nx = 2"},
        {"made_pack__init": "x = 2"},
        {"made_pack__inner": "from . import beside, nothing\nfrom .. import above\nimport json, numpy\nx = 2"},
        {"made_pack__beside": "x = 2"},
    ],
)
def test_changes(folder: Path, changed: dict[str, str]) -> None:
    """A change of the module, of one that it imports, or of a package around these changes the digest."""
    write(
        folder,
        made_top="import made_lib",
        made_lib="from made_pack import inner\n" + "def f():\n    import made_top",
        made_pack__init="",
        made_pack__inner="from . import beside, nothing\nfrom .. import above\nimport json, numpy",
        made_pack__beside="raise SystemExit",
        made_other="",
    )
    (folder / "made_pack/init.py").rename(folder / "made_pack/__init__.py")
    before = digest_of_sources("made_top")
    assert before == digest_of_sources("made_top")
    write(folder, made_other="x = 2")
    assert before == digest_of_sources("made_top")

    write(folder, **changed)
    if (moved := folder / "made_pack/init.py").exists():
        moved.rename(folder / "made_pack/__init__.py")

    assert before not in (None, digest_of_sources("made_top"))
    assert not any(name.startswith("made_") for name in sys.modules)


def test_names_that_are_modules(folder: Path) -> None:
    """A name that is imported from a package without a file of its own may be a module in it."""
    write(folder, made_space__lib="x = 1")
    before = digest_of_sources("made_space", ("lib", "nothing"))
    write(folder, made_space__lib="x = 22")

    assert before not in (None, digest_of_sources("made_space", ("lib", "nothing")))


def test_a_file_that_is_no_source(folder: Path) -> None:
    """A file that Python would refuse counts by its bytes."""
    write(folder, made_top="1 +")
    before = digest_of_sources("made_top")
    write(folder, made_top="1 + +")

    assert before not in (None, digest_of_sources("made_top"))


@pytest.mark.parametrize("name", ["made_nothing", "made_nothing.lib", "json", "__main__", "made_top.lib"])
def test_modules_without_a_file_of_the_user(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, made_top="")
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)

    assert digest_of_sources(name) is None
