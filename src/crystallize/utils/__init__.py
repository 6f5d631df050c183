"""The module path of the published package."""
