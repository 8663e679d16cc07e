"""Directive `metric-catalog`: one entry a metric, straight from the catalog."""

from __future__ import annotations

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from ncollapse.metrics.catalog import METRICS
from ncollapse.metrics.metric import Without


class MetricCatalog(SphinxDirective):
    """All rows as a definition list."""

    def run(self) -> list[nodes.Node]:
        lines: list[str] = []
        for key, row in METRICS.items():
            ideal = "none" if row.ideal is None else f"{row.ideal:g}"
            lines += [f"`{key}`", f": **{row.title}**: {row.formula}", ""]
            lines += [f"  {row.meaning}", ""]
            lines += [f"  Ideal {ideal}; needs {', '.join(row.needs)}; source: {row.source}.", ""]
            if row.aliases:
                lines += [f"  Also called {', '.join(row.aliases)}.", ""]
            if row.definitions:
                names = ", ".join(f"`{name}`" for name in row.definitions)
                lines += [f"  Definitions: {names}.", ""]
            without = [
                f"no {kind} ({rule.why})"
                for kind, rule in (
                    ("null", row.null),
                    ("floor", row.floor),
                    ("interval", row.interval),
                )
                if isinstance(rule, Without)
            ]
            if without:
                lines += [f"  It has {'; '.join(without)}.", ""]
        node = nodes.container()
        self.state.nested_parse(StringList(lines, source="catalog"), 0, node)
        return node.children


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("metric-catalog", MetricCatalog)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
