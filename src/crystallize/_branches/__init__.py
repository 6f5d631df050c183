"""_branches."""
