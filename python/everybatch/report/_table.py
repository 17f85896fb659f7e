"""The table of all trials. Each cell of a number carries the number itself, for the script that sorts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from everybatch._trial import measure_of
from everybatch.report._runs import Told
from everybatch.report._text import escaped, number, percent

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["table"]

_RESULTS = ("final_validation_accuracy", "final_test_accuracy")


def table(rows: pd.DataFrame, told: Told) -> str:
    """Return the trials of `Sweep.table` as HTML; columns without any value are left out."""
    known = [name for name in rows.columns if name != "message" and not rows[name].isna().all()]
    # What became of a trial stands beside its settings, before the many numbers.
    first = [*known[: known.index("seed") + 1], "status", *(name for name in _RESULTS if name in known)]
    names = [*first, *(name for name in known if name not in first)]
    heads = ["trial", "curves", *names]
    cells = [_head(name, sortable=name != "curves") for name in heads]
    lines = []
    values_of = rows[names].astype(object).where(rows[names].notna(), None)
    entries = zip(rows.index, rows["status"], values_of.itertuples(index=False, name=None), strict=True)
    for key, status, values in entries:
        link = f'<th scope="row"><a href="#run-{escaped(key)}">{escaped(key[:8])}</a></th>'
        body = "".join(_cell(value, name) for value, name in zip(values, names, strict=True))
        lines.append(f'<tr class="{escaped(status)}">{link}<td>{told.sparks.get(key, "")}</td>{body}</tr>')
    return (
        '<div class="scroll"><table id="trials"><caption class="hidden">All trials</caption>'
        f"<thead><tr>{''.join(cells)}</tr></thead><tbody>\n{chr(10).join(lines)}\n</tbody></table></div>"
    )


def _head(name: str, *, sortable: bool) -> str:
    words = escaped(name.replace("_", " "))
    if not sortable:
        return f'<th scope="col">{words}</th>'
    return f'<th scope="col" aria-sort="none" data-name="{escaped(name)}"><button type="button">{words}</button></th>'


def _cell(value: Any, name: str) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        measure = measure_of(name)
        shown = percent(value) if measure is not None and measure.unit == "fraction" else number(value)
        return f'<td class="n" data-v="{value!r}">{shown}</td>'
    kind = ' class="status"' if name == "status" else ""
    return "<td></td>" if value is None else f"<td{kind}>{escaped(value)}</td>"
