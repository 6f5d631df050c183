"""Which modules are the user's own, so that a change of their code counts."""

import os
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

_OWN: Final = str(__package__).partition(".")[0]
_STANDARD: Final = str(Path(os.__file__).parent) + os.sep
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})

_foreign: set[str] = {"", "None", "builtins", _OWN}
"""Top-level names of modules that are known not to be the user's."""


class NotImported(Exception):
    """A module of the user was not imported yet."""


def is_foreign(name: object) -> bool:
    """Return whether a module belongs to the standard library, an installed package or this one.

    Scripts, notebooks and packages that are installed in editable mode are the user's.
    """
    top = str(name).partition(".")[0]
    if top in _foreign:
        return True
    if top in ("__main__", "__mp_main__") or not _is_foreign_module(top):
        return False
    _foreign.add(top)
    return True


def _is_foreign_module(top: str) -> bool:
    module = sys.modules.get(top)
    file = getattr(module, "__file__", None)
    if file is None and module is not None:
        file = next(iter(getattr(module, "__path__", ())), None)  # a namespace package
    return top in sys.stdlib_module_names if file is None else _is_foreign_file(file)


def _is_foreign_file(file: str) -> bool:
    return file.startswith(_STANDARD) or not _INSTALLED.isdisjoint(Path(file).parts)


def foreign_name(value: Any) -> str | None:
    """Return the name by which a function that is no Python function, as `numpy.exp`, is imported from its package."""
    module, name = getattr(value, "__module__", None), getattr(value, "__name__", None)
    if not isinstance(module, str) or not isinstance(name, str) or not is_foreign(module):
        return None
    return f"{module}.{name}" if getattr(sys.modules.get(module), name, None) is value else None


def user_module(name: str) -> ModuleType | None:
    """Return a module that a function imports while it runs; None if it is foreign, or nobody has it.

    Raises:
        NotImported: It is the user's, and was not imported yet.
    """
    if name in sys.modules:
        return None if is_foreign(name) else sys.modules[name]
    top = name.partition(".")[0]
    if top in sys.modules:
        is_user = not is_foreign(top)
    else:
        spec = find_spec(top)
        is_user = spec is not None and top not in _foreign and not is_foreign_spec(spec)
    if is_user:
        raise NotImported
    return None


def is_foreign_spec(spec: ModuleSpec) -> bool:
    """Return whether a module is foreign, by the place where it is."""
    places = [*(spec.submodule_search_locations or ())]
    file = spec.origin if spec.has_location else next(iter(places), None)
    return file is None or _is_foreign_file(file)
