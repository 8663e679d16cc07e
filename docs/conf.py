"""Sphinx configuration."""

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "ncollapse"
author = "The ncollapse developers"
copyright = "2026, The ncollapse developers"
version = release = installed("ncollapse")
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "catalog",
    "citation",
    "commands",
    "formulas",
    "gallery",
]
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_title = "ncollapse"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_math_renderer = "mathml"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# Tutorials are kept without outputs and run once for each state of their code.
nb_execution_mode = "cache"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
