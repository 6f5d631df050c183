"""Libraries that an extra of this package installs. They are imported when they are first used."""

from importlib import import_module
from typing import Any

from ..errors import MissingExtraError


class OptionalModule:
    """A stand-in for a module that imports it at the first access to an attribute.

    Example:
        >>> json = OptionalModule("json", "arrow")
        >>> json.dumps([1])
        '[1]'
    """

    def __init__(self, module: str, extra: str) -> None:
        self._module = module
        self._extra = extra

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the module, or raise MissingExtraError if its library is not installed."""
        library = self._module.partition(".")[0]
        try:
            found = getattr(import_module(self._module), name)
        except ModuleNotFoundError as error:
            # An installed library that lacks one of its own dependencies raises its own error.
            if error.name != library:
                raise
            raise MissingExtraError(library, self._extra) from error
        setattr(self, name, found)  # the next access finds it without this method
        return found
