"""The catalog as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ncollapse.metrics.catalog import METRICS, of_task

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("key", "meaning", "ideal", "source", "family", "task", "formula", "unit", "direction")


def list_metrics(task: str | None = None) -> pd.DataFrame:
    """Every metric that can be asked for with `metrics=`, a row each, in the catalog's order.

    Columns: key, meaning, ideal (the value at full collapse, NaN where there is none), source,
    family, task, formula, unit (number or percent), direction (where collapse moves it: down, up
    or none). task: the rows of one task only, "classification" for example. No data is read.

    Raises ValueError for a task without rows.

    >>> list_metrics().loc[lambda frame: frame.key == "class_share", "ideal"].item()
    1.0
    """
    import pandas as pd

    known = sorted({row.task for row in METRICS.values()})
    if task is not None and task not in known:
        raise ValueError(f"task={task!r} has no metrics; one of {', '.join(known)} is needed")
    rows = METRICS if task is None else of_task(task)
    table = [tuple(getattr(row, name) for name in COLUMNS) for row in rows.values()]
    return pd.DataFrame(table, columns=list(COLUMNS)).astype({"ideal": "float64"})
