"""Directive `citation`: BibTeX for the package, made of CITATION.cff."""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def bibtex(text: str) -> str:
    """A @software entry of what a CITATION.cff holds."""
    value = dict(re.findall(r"^([a-z-]+): \"?(.+?)\"?$", text, re.M))
    authors = " and ".join(f"{{{name}}}" for name in re.findall(r"- name: (.+)", text))
    fields = {"title": f"{{{value['title']}}}", "author": authors, "version": value["version"]}
    lines = [f"  {name} = {{{said}}}," for name, said in fields.items()]
    return "\n".join(["@software{ncollapse,", *lines, "}"])


class Citation(SphinxDirective):
    """The entry as a block of code."""

    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir).parent / "CITATION.cff"
        self.env.note_dependency(str(path))
        text = bibtex(path.read_text("utf-8"))
        return [nodes.literal_block(text, text, language="bibtex")]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("citation", Citation)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
