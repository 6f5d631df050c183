"""Stubs of this package that know the keys of a project's schemas, so that `ctx["lr"]` has its type."""

import ast
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Literal, NamedTuple

from ..errors import StubsError
from .class_outline import outline
from .key_overloads import with_overloads
from .schema_list import Refused, SchemaList, list_schemas

_PACKAGE = "crystallize"
_SOURCE = Path(__file__).parents[1]
_MARK = "# Written by `crystallize stubs`"
"""The start of every file that this command may overwrite or delete."""
_SILENCED = """\
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false, reportAttributeAccessIssue=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated, subclass-of-final-class]
"""
"""Keeps checkers quiet about the stubs when they check a whole project, with the strict rules of its own code."""
_ELSEWHERE = "move it, or name another folder"


class Changed(NamedTuple):
    """A file that differs from the stub that would be written.

    Example:
        >>> from pathlib import Path
        >>> from crystallize.stubs import make_stubs
        >>> make_stubs(["pipeline.schemas"]).changed(Path("stubs"))[0].how
        'missing'
    """

    path: Path
    how: Literal["missing", "stale", "left over"]


class Stubs(NamedTuple):
    """The stubs of this package for some schemas.

    Example:
        >>> from pathlib import Path
        >>> from crystallize.stubs import make_stubs
        >>> stubs = make_stubs(["pipeline.schemas"])
        >>> len(stubs.write(Path("stubs"))) == len(stubs.files)
        True
        >>> stubs.changed(Path("stubs"))
        []
    """

    files: Mapping[str, str]
    """The text of each file, by its path within a folder of stubs."""
    schemas: tuple[str, ...]
    """The schemas whose keys have types in the stubs."""
    metrics: tuple[str, ...]
    """The names of the metrics that have types in the stubs."""
    refused: tuple[Refused, ...]
    """The schemas that no stub can be written of. Their contexts are typed as they are without stubs."""

    def changed(self, folder: Path) -> list[Changed]:
        """Return the files in a folder that differ from these stubs, sorted by name.

        Args:
            folder: A folder of stubs. It may contain stubs of other packages.
        """
        found = []
        for name in sorted({*self.files, *_written(folder)}):
            path, text = folder / name, self.files.get(name)
            if text is None:
                found.append(Changed(path, "left over"))
            elif not path.is_file():
                found.append(Changed(path, "missing"))
            elif path.read_bytes() != text.encode():
                found.append(Changed(path, "stale"))
        return found

    def write(self, folder: Path) -> list[Changed]:
        """Write the stubs that have changed, and delete those that are no longer needed.

        Args:
            folder: A folder of stubs. Files that `crystallize stubs` did not write are not changed.

        Returns:
            The files that were written or deleted.

        Raises:
            StubsError: A file or a folder is in the place of a stub. No stub is written.
        """
        if folder.exists() and not folder.is_dir():
            raise StubsError(str(folder), "it is a file; -o names the folder of the stubs")
        if (folder / _PACKAGE).resolve() == _SOURCE.resolve():
            raise StubsError(str(folder), "the package itself exists; -o names a folder of stubs, as stubs")
        for name in self.files:
            _check_free(folder / name)
        changed = self.changed(folder)
        for path, how in changed:
            if how == "stale" and not _is_ours(path):
                advice = f"it was not written by this command, and is not written over; {_ELSEWHERE}"
                raise StubsError(str(path), advice)
        for path, how in changed:
            if how == "left over":
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.files[path.relative_to(folder).as_posix()].encode())
        return changed


def make_stubs(modules: Sequence[str]) -> Stubs:
    """Make stubs of this package in which the keys of some schemas, and the names of their metrics, have types.

    Args:
        modules: The names of the modules that declare the schemas. They are imported.

    Returns:
        A stub for each module of this package, made from the installed source.

    Raises:
        StubsError: A module cannot be imported, or declares no schema that a stub can be written of.

    Example:
        >>> made = make_stubs(["pipeline.schemas"])
        >>> made.metrics
        ('accuracy', 'loss', 'rows')
    """
    names = sorted(dict.fromkeys(modules))
    listed = list_schemas(names)
    sources = {path.relative_to(_SOURCE).with_suffix(""): path for path in sorted(_SOURCE.rglob("*.py"))}
    outlines = {name.as_posix(): outline(path.read_text(encoding="utf-8")) for name, path in sources.items()}
    head = _head(names, listed)
    return Stubs(
        {
            f"{_PACKAGE}/{name}.pyi": f"{head}{ast.unparse(module)}\n"
            for name, module in with_overloads(outlines, listed).items()
        },
        tuple(sorted(schema.full_name for schema in listed.schemas)),
        tuple(metric.name for metric in listed.metrics),
        tuple(listed.refused),
    )


def _head(modules: Iterable[str], listed: SchemaList) -> str:
    """Return the comments at the start of each file: its origin, and a digest of the schemas and the version."""
    own = version("crystallize-context")
    schemas = [(schema.name, schema.full_name, schema.keys, schema.parameters) for schema in listed.schemas]
    metrics = [(metric.name, metric.values, metric.tags) for metric in listed.metrics]
    content = repr((own, schemas, metrics)).encode()
    return (
        f"{_MARK}: run it again in place of a change by hand.\n"
        f"# Of {', '.join(modules)}.\n"
        f"# crystallize {own}, schemas and version: {blake2b(content, digest_size=8).hexdigest()}\n"
        f"{_SILENCED}"
    )


def _written(folder: Path) -> list[str]:
    """Return the files of the package's stubs in a folder that this command has written."""
    files = (path for path in (folder / _PACKAGE).rglob("*.pyi") if path.is_file() and _is_ours(path))
    return [path.relative_to(folder).as_posix() for path in files]


def _check_free(path: Path) -> None:
    """Raise StubsError if something other than a file is at a path, or other than a folder at one of its parents."""
    for place in [*reversed(path.parents), path]:
        expected = "file" if place == path else "folder"
        if place.is_symlink() and not place.exists():
            raise StubsError(
                str(place), f"it is a link to nothing, and the stubs have a {expected} there; {_ELSEWHERE}"
            )
        if place.exists() and not (place.is_file() if place == path else place.is_dir()):
            raise StubsError(str(place), f"it is no {expected}, and the stubs have one there; {_ELSEWHERE}")


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MARK)) == _MARK.encode()
