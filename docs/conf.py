"""The site of lessons and pages. `sphinx-build -W -j auto -c docs . build/site` builds it and runs every lesson."""

import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "site")]

# The kernels that run the lessons import this checkout, on the CPU.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

project = "jaxnets"
author = "the authors of jaxnets"
extensions = ["myst_nb", "sphinx_copybutton", "local_links", "mathml"]

# The sources are the repository, so that links between pages are the same on the site and in a checkout.
root_doc = "docs/index"
include_patterns = ["*.md", "docs/*.md", "docs/lessons/[0-9]*.py", "benchmarks/*.md", "benchmarks/**/*.md"]
exclude_patterns = [".*", "build", "runs", "**/__pycache__", "docs/site/static"]
source_suffix = {".md": "myst-nb", ".py": "myst-nb"}

nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 300  # seconds per cell, for a machine that has other work
nb_output_stderr = "remove-warn"  # a lesson that warns fails the build
nb_merge_streams = True
nb_ipywidgets_js = {}  # nothing is loaded from a network

myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath", "attrs_block", "deflist"]
suppress_warnings = ["toc.not_included"]  # README, CHANGELOG and figures are reached by links
html_math_renderer = "mathml"

html_theme = "furo"
html_title = "jaxnets"
html_static_path = ["site/static"]
html_extra_path = ["site/root"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False  # the footer would name nobody
html_show_sourcelink = False
html_show_search_summary = False  # the script would fetch pages, which a browser refuses without a server
html_theme_options = {"navigation_with_keys": True}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
copybutton_exclude = ".linenos, .gp, .go"


def apart(_app: Any, _env: Any, docnames: list[str]) -> None:
    """Put half of the lessons first and half last: each process reads one part of the list, and lessons take long."""
    lessons = [name for name in docnames if "/lessons/" in name]
    docnames[:] = [*lessons[::2], *(name for name in docnames if name not in lessons), *lessons[1::2]]


def add_twins(app: Any, error: Exception | None) -> None:
    """Add the pages of `parity twins`, without the errors of the layers, which take some minutes to measure."""
    if error is None:
        from parity import twins  # of this checkout, whose folder is in the path by now

        twins.write([], Path(app.outdir) / "twins", measure=False)


def setup(app: Any) -> None:
    """Connect what is defined here."""
    app.connect("env-before-read-docs", apart)
    app.connect("build-finished", add_twins)
