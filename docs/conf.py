"""How Sphinx builds the documentation."""

import builtins
import re
import sys
from html import escape
from importlib.metadata import version as version_of
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from crystallize import CrystallizeError, LostBranchesError, errors

sys.path.insert(0, str(Path(__file__).parent))
import pictures  # found by the line above
from llms_texts import write_llms_texts  # as well

project = "crystallize"
author = "crystallize contributors"
copyright = "2026, crystallize contributors"
version = release = version_of("crystallize-context")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "_made"]
html_theme = "furo"
html_title = "crystallize"
# The page of the demo's run, as the demo wrote it.
html_extra_path = ["_made/site"]
html_static_path = ["_static"]
html_css_files = ["wrap.css"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Large, and the documentation needs nothing of it.
autodoc_mock_imports = ["keras", "lightning", "mlflow", "tensorboardX", "transformers", "xgboost"]

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
    # The reference describes them where they are attributes: `Artifact.content`, `Stored.parts`.
    (r"py:class", r"crystallize\.(_base\.file_content\.FileContent|_core\.value_parts\.LargePart)"),
    # Imported for type checkers alone.
    (r"py:class", r"(Simple)?Namespace"),
    # What a sink is handed of these is on the page on sinks.
    (r"py:class", r"crystallize\._core\.(event_dispatch\.Batch|schema\.Schema)"),
    (r"py:.*", "|".join(dir(builtins))),
    (r"py:.*", r"(?!crystallize\b)[a-z_]\w*\..+"),
    (r"py:.*", r"([a-z_.]+\.)?_?[A-Z](_co|_contra)?"),
]


class Picture(SphinxDirective):
    """A picture that `pictures` has drawn, within the page, whose colours it has: `alt` says what is on it."""

    required_arguments = 1
    option_spec = {"alt": directives.unchanged_required}  # noqa: RUF012  # as docutils declares it
    has_content = True

    def run(self) -> list[nodes.Node]:
        path = pictures.MADE / f"{self.arguments[0]}.svg"
        self.env.note_dependency(str(path))
        label = f'<svg role="img" aria-label="{escape(self.options["alt"])}" '
        drawing = path.read_text(encoding="utf-8").replace("<svg ", label, 1)
        # What does not fit on a telephone is scrolled.
        scrolled = f'<div style="overflow-x: auto" role="region" aria-label="Picture" tabindex="0">{drawing}</div>'
        return [nodes.raw("", scrolled, format="html"), *self.parse_content_to_nodes()]


def _draw(app: Sphinx, config: Config) -> None:
    pictures.write_all()


def _check_anchors(app: Sphinx, failure: Exception | None) -> None:
    """Hold the built page of errors to what tracebacks say: each error has an anchor of its name there."""
    if failure is None and app.builder.name == "html":
        page = (Path(app.outdir) / "errors.html").read_text("utf-8")
        public = [LostBranchesError, *(getattr(errors, name) for name in errors.__all__)]
        named = {cls.__name__.lower() for cls in public if issubclass(cls, CrystallizeError)}
        missing = sorted(named - set(re.findall(r'\bid="([^"]+)"', page)))
        if missing:
            logging.getLogger(__name__).warning("errors.html has no section %s", ", ".join(missing))


def _write_llms_texts(app: Sphinx, failure: Exception | None) -> None:
    if failure is None and app.builder.name == "html":
        write_llms_texts(Path(app.srcdir), Path(app.outdir))


def setup(app: Sphinx) -> None:
    """Draw before Sphinx looks whether the folder of what is copied is there, which it does with 800."""
    app.connect("config-inited", _draw, priority=500)
    app.connect("build-finished", _check_anchors)
    app.connect("build-finished", _write_llms_texts)
    app.add_directive("picture", Picture)
