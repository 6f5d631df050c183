"""Digests of modules that are not imported, from their files: nothing of them is run."""

import ast
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, resolve_name
from pathlib import Path

from .digest import digest
from .user_modules import is_foreign_spec
from .value_forms import joined


def digest_of_sources(module: str, names: tuple[str, ...] = ()) -> bytes | None:
    """Return a digest of the files of a module, and of all modules of the user that it imports; None without a file.

    `names` are imported from the module, and may be modules in it.
    """
    if _file_of(module) is None:
        return None
    pending, found = [module, *(f"{module}.{name}" for name in names)], dict[str, str]()
    while pending:
        name = pending.pop()
        for part in _with_packages(name):
            spec = _spec_of(part)
            if part in found or spec is None or spec.origin is None or not spec.has_location:
                continue
            status = Path(spec.origin).stat()
            found[part], imported = _content_of(spec.origin, status.st_mtime_ns, status.st_size)
            package = part if spec.submodule_search_locations is not None else part.rpartition(".")[0]
            pending += [known for other in imported if (known := _resolved(other, package)) is not None]
    return joined("sources", (text.encode() for item in sorted(found.items()) for text in item))


def _with_packages(name: str) -> list[str]:
    """Return the names of a module and of the packages that it is in, the outermost first."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _file_of(name: str) -> str | None:
    spec = _spec_of(name)
    return None if spec is None else spec.origin or next(iter(spec.submodule_search_locations or ()), None)


def _spec_of(name: str) -> ModuleSpec | None:
    """Return where a module of the user is. `find_spec` would import the packages that it is in."""
    top, *rest = name.split(".")
    # A script has no spec.
    spec = getattr(sys.modules[top], "__spec__", None) if top in sys.modules else find_spec(top)
    if spec is None or is_foreign_spec(spec):
        return None
    for count in range(1, len(rest) + 1):
        if spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(".".join([top, *rest[:count]]), [*spec.submodule_search_locations])
        if spec is None:
            return None
    return spec


@lru_cache(maxsize=1024)
def _content_of(file: str, changed: int, size: int) -> tuple[str, tuple[str, ...]]:
    """Return the digest of a file that was changed at this time, and the names of the modules that it imports."""
    content = Path(file).read_bytes()
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # it is no source, or Python would refuse it
        return digest(content), ()
    return digest(content), tuple(_imports_in(tree))


def _imports_in(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            yield start
            yield from (f"{start}{'' if start.endswith('.') else '.'}{alias.name}" for alias in node.names)


def _resolved(name: str, package: str) -> str | None:
    """Return the full name of a module that another module imports; None if there is no such package."""
    try:
        return resolve_name(name, package).rstrip(".")
    except ImportError:
        return None
