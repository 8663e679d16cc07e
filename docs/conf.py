"""Sphinx configuration."""

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "ncollapse"
author = "The ncollapse developers"
copyright = "2026, The ncollapse developers"
version = release = installed("ncollapse")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "catalog"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_title = "ncollapse"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
