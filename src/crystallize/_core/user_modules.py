"""Which modules are the user's own."""

import os
import sys
from pathlib import Path
from typing import Final

_OWN: Final = str(__package__).partition(".")[0]
_STANDARD: Final = str(Path(os.__file__).parent) + os.sep
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})

_foreign: set[str] = {"", "None", "builtins", _OWN}
"""Top-level names of modules that are known not to be the user's."""


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
