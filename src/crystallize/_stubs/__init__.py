"""_stubs."""
