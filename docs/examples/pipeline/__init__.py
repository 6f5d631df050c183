"""A pipeline in modules, as projects have them: what the page on string keys shows."""
