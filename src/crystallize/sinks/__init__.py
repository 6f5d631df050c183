"""Sinks: one file a backend, each imported by its own module."""
