"""_tables."""
