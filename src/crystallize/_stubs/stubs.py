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
from .listings import Listing, Refused, listed
from .printer import printed

__all__ = ["Changed", "Stubs", "make_stubs"]

_PACKAGE = "crystallize"
_MARK = "# Written by `crystallize stubs`"
"""How every file begins that may be written over, or deleted."""
_UNASKED = """\
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""
"""What a project asks of its own code it need not ask of this, as where a checker is run on all that there is."""


class Changed(NamedTuple):
    """A file that is not as it would be written.

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
    """The schemas whose keys have their types in it."""
    metrics: tuple[str, ...]
    """The names of the metrics that have theirs."""
    refused: tuple[Refused, ...]
    """The schemas that no stub can be written of. Their contexts stay as they are without stubs."""

    def changed(self, folder: Path) -> list[Changed]:
        """Return the files in a folder that are not as these are, in the order of their names.

        Args:
            folder: A folder of stubs, with those of other packages beside these.
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
        """Write what has changed, and delete what was written once and is no more part of it.

        Args:
            folder: A folder of stubs. What this command has not written stays as it is.

        Returns:
            The files that were not as they are now.

        Raises:
            StubsError: Something else stands in the place of a file or folder, and nothing is written.
        """
        if folder.exists() and not folder.is_dir():
            raise StubsError(str(folder), "it is a file; -o names the folder of the stubs")
        if (folder / _PACKAGE).resolve() == _SOURCE.resolve():
            raise StubsError(str(folder), "the package itself is there; -o names a folder of stubs, as stubs")
        for name in self.files:
            _check_place(folder / name)
        changed = self.changed(folder)
        for path in [one.path for one in changed if one.how == "stale"]:
            if not _is_ours(path):
                advice = f"it was not written by this command, and is not written over; {_ELSEWHERE}"
                raise StubsError(str(path), advice)
        for path, how in changed:
            if how == "left over":
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.files[path.relative_to(folder).as_posix()].encode())
        return changed


_SOURCE = Path(__file__).parents[1]


def make_stubs(modules: Sequence[str]) -> Stubs:
    """Make stubs of this package in which the keys of some schemas, and the names of their metrics, have types.

    Args:
        modules: The names of the modules that declare them. They are imported.

    Returns:
        The stubs, to be written to a folder on the search path of type checkers.

    Raises:
        StubsError: A module cannot be imported, or declares no schema that a stub can be written of.

    Example:
        >>> made = make_stubs(["pipeline.schemas"])
        >>> made.metrics
        ('accuracy', 'loss', 'rows')
    """
    listing = listed(sorted(dict.fromkeys(modules)))
    sources = {path.relative_to(_SOURCE).with_suffix(""): path for path in sorted(_SOURCE.rglob("*.py"))}
    outlines = {name.as_posix(): outline(path.read_text(encoding="utf-8")) for name, path in sources.items()}
    head = _head(sorted(dict.fromkeys(modules)), listing)
    texts = {name: printed(module) for name, module in with_overloads(outlines, listing).items()}
    return Stubs(
        {f"{_PACKAGE}/{name}.pyi": f"{head}{text}" for name, text in texts.items()},
        tuple(sorted(one.full_name for one in listing.schemas)),
        tuple(one.name for one in listing.metrics),
        tuple(listing.refused),
    )


def _head(modules: Iterable[str], listing: Listing) -> str:
    """Return how each file begins: what it was made of, and of which state of that."""
    own = version("crystallize-context")
    schemas = [(one.name, one.full_name, _told(one.keys), _told(one.parameters)) for one in listing.schemas]
    metrics = [(one.name, [ast.unparse(part) for part in (*one.values, *one.tags)]) for one in listing.metrics]
    content = repr((own, schemas, metrics)).encode()
    return (
        f"{_MARK}: run it again in place of a change by hand.\n"
        f"# Of {', '.join(modules)}.\n"
        f"# crystallize {own}, schemas and version: {blake2b(content, digest_size=8).hexdigest()}\n"
        f"{_UNASKED}"
    )


def _told(types: Mapping[str, ast.expr]) -> list[tuple[str, str]]:
    return [(name, ast.unparse(type)) for name, type in types.items()]


def _written(folder: Path) -> list[str]:
    """Return the files of the package's stubs in a folder that this command has written."""
    files = (path for path in (folder / _PACKAGE).rglob("*.pyi") if path.is_file() and _is_ours(path))
    return [path.relative_to(folder).as_posix() for path in files]


def _check_place(path: Path) -> None:
    """Check that a file can stand at a path.

    Raises:
        StubsError: Something else stands there, or in the place of a folder that it is in.
    """
    for place in [*reversed(path.parents), path]:
        expected = "file" if place == path else "folder"
        if place.is_symlink() and not place.exists():
            raise StubsError(
                str(place), f"it is a link to nothing, and the stubs have a {expected} there; {_ELSEWHERE}"
            )
        if place.exists() and not (place.is_file() if place == path else place.is_dir()):
            raise StubsError(str(place), f"it is no {expected}, and the stubs have one there; {_ELSEWHERE}")


_ELSEWHERE = "move it, or name another folder"


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MARK)) == _MARK.encode()
