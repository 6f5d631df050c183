"""How Sphinx builds the documentation."""

import builtins
from importlib.metadata import version as version_of

project = "crystallize"
author = "crystallize contributors"
copyright = "2026, crystallize contributors"
version = release = version_of("crystallize-context")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "crystallize"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Large, and the documentation needs nothing of it.
autodoc_mock_imports = ["mlflow"]

napoleon_google_docstring = True
napoleon_numpy_docstring = False
# The attributes that a docstring lists are described once, where they also are members.
napoleon_use_ivar = True

# Types stay in the signature, by their last name, one parameter a line where they are many.
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

# Every name of our own must resolve. Those of others need not, so that no inventory is fetched: builtins,
# what comes by its module, and type variables (one capital letter, perhaps with its variance).
nitpicky = True
# `type` is a builtin, and an attribute of ours.
suppress_warnings = ["ref.python"]
nitpick_ignore_regex = [
    (r"py:.*", "|".join(dir(builtins))),
    (r"py:.*", r"(?!crystallize\b)[a-z_]\w*\..+"),
    (r"py:.*", r"([a-z_.]+\.)?_?[A-Z](_co|_contra)?"),
]
