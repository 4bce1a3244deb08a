"""How Sphinx builds the site: ``make docs``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx

from attnscope import __version__

HERE = Path(__file__).parent

project = "attnscope"
author = "the authors of attnscope"
copyright = "2026, the authors of attnscope"
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
myst_enable_extensions = ["colon_fence", "deflist", "html_image"]
myst_heading_anchors = 3
myst_links_external_new_tab = True
suppress_warnings = ["myst.strikethrough"]
nb_execution_mode = "cache"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "remove"

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say shapes, units and types
autodoc_default_options = {"members": True, "inherited-members": False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"attnscope {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
templates_path = ["_templates"]
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True
pygments_style, pygments_dark_style = "friendly", "monokai"


def _commands() -> None:
    """Write the reference of the commands from the commands themselves."""
    made = subprocess.run(
        [sys.executable, "-m", "typer", "attnscope.cli.app", "utils", "docs",
         "--name", "attnscope", "--title", "Commands"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    (HERE / "reference" / "commands.md").write_text(made.stdout)


def _beside() -> None:
    """Bring the documents in that stand outside of this folder, their links turned to where they come."""
    cards = HERE / "cards"
    cards.mkdir(exist_ok=True)
    for card in HERE.parent.glob("attnscope/shapes/models/*/README.md"):
        text = re.sub(r"\A---\n.*?\n---\n", "", card.read_text(), flags=re.DOTALL)
        text = re.sub(r"\]\(\.\./([\w-]+)/README\.md", r"](\1.md", text)
        text = text.replace("](../../../../docs/", "](../")
        (cards / f"{card.parent.name}.md").write_text(text)
    for name in ("CONTRIBUTING", "CHANGELOG"):
        text = (HERE.parent / f"{name}.md").read_text()
        (HERE / f"{name.lower()}.md").write_text(text.replace("](docs/", "]("))


def _links(app: Sphinx, name: str, source: list[str]) -> None:
    """Turn links to a model's card, which work in the repository, to the card's page."""
    source[0] = re.sub(
        r"\]\((?:\.\./)+attnscope/shapes/models/([\w-]+)/README\.md", r"](/cards/\1.md", source[0]
    )


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    _commands()
    _beside()
    app.connect("source-read", _links)
