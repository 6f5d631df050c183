"""_journal."""
