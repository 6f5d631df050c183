"""Stubs of this package that contain the keys of a project's schemas."""

from ._stubs.generate import Changed, Stubs, make_stubs

__all__ = ["Changed", "Stubs", "make_stubs"]
