"""Libraries that an extra of this package brings: imported when they are first used."""

from importlib import import_module
from typing import Any

from ..errors import MissingExtraError

__all__ = ["Extra"]


class Extra:
    """In place of a module: imports it when something of it is asked for.

    Example:
        >>> json = Extra("json", "arrow")
        >>> json.dumps([1])
        '[1]'
    """

    def __init__(self, module: str, extra: str) -> None:
        """Stand for a module.

        Args:
            module: Its name.
            extra: The extra that brings its library.
        """
        self._module = module
        self._extra = extra

    def __getattr__(self, name: str) -> Any:
        """Return something of the module.

        Raises:
            MissingExtraError: Its library is not installed.
        """
        library = self._module.partition(".")[0]
        try:
            found = getattr(import_module(self._module), name)
        except ModuleNotFoundError as error:
            # What a library that is there cannot find is a matter of its own.
            if error.name != library:
                raise
            raise MissingExtraError(library, self._extra) from error
        # What was found once needs no looking for.
        setattr(self, name, found)
        return found
