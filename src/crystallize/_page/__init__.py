"""_page."""
