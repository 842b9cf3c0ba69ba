"""Verdicts and costs as tables."""

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from specprobe_cli.output import size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from specprobe.workflow.audit_costs import Cost

__all__ = ["audit_table", "cost_table"]

_STYLES = {
    "pass": "green",
    "fail": "bold red",
    "inconclusive": "yellow",
    "waived": "dim",
    "error": "bold red",
}


def audit_table(
    result: "Mapping[str, Any]", /, *, changes: "Sequence[str]" = (), everything: bool = False
) -> "RenderableType":
    """Verdicts by model, a sentence below for each that is not kept.

    Parameters
    ----------
    result : mapping
        ``result`` of a document of kind ``audit``.
    changes : sequence of str
        What was done to the baseline.
    everything : bool
        Sentences for those that pass, too.

    Returns
    -------
    rich renderable
        A table, sentences and the counts.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("model", "check"):
        table.add_column(name, overflow="fold")
    for name in ("measured", "limit"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for verdict in result["verdicts"]:
        table.add_row(
            Text(verdict["model"]),
            Text(verdict["check"]),
            _measured(verdict),
            "–" if verdict["limit"] is None else f"{verdict['limit']:.4g}",
            Text(verdict["status"], style=_STYLES[verdict["status"]]),
        )
    lines = [
        Text(f"{v['status']}: ", style=_STYLES[v["status"]]).append(
            f"{v['model']}, {v['check']}: {v['message']}", style=""
        )
        for v in result["verdicts"]
        if everything or v["status"] != "pass"
    ]
    notes = [Text(f"note: {note}", style="dim") for note in result["notes"]]
    told = [Text(f"baseline: {change}", style="dim") for change in changes]
    counts = ", ".join(f"{count} {status}" for status, count in result["counts"].items() if count)
    percent = f"{100 * result['confidence']:g} % intervals"
    last = Text(result["status"], style=_STYLES[result["status"]]).append(
        f"  {counts}; {percent}", style="dim"
    )
    return Group(table, Text(""), *lines, *notes, *told, last)


def _measured(verdict: "Mapping[str, Any]") -> str:
    if verdict["measured"] is None:
        return "–"
    text = f"{verdict['measured']:.4g}"
    if verdict["measured_interval"] is not None:
        low, high = ("–" if end is None else f"{end:.4g}" for end in verdict["measured_interval"])
        text += f" [{low}, {high}]"
    return text


def cost_table(costs: "Sequence[Cost]", /) -> "RenderableType":
    """What an audit would take.

    Parameters
    ----------
    costs : sequence of Cost
        One a pass over the images.

    Returns
    -------
    rich renderable
        A table and the total.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("model", "measured", "for the checks"):
        table.add_column(name, overflow="fold")
    for name in ("images", "forward", "gradient", "memory", "about"):
        table.add_column(name, justify="right", no_wrap=True)
    for cost in costs:
        table.add_row(
            Text(cost.model),
            ", ".join(cost.analyses),
            Text(", ".join(cost.checks)),
            str(cost.images) if cost.images else "–",
            size(cost.forward) if cost.images else "–",
            size(cost.gradient) if cost.images else "–",
            size(cost.memory_bytes, "B", base=1024) if cost.images else "–",
            "–" if cost.seconds is None else _duration(cost.seconds),
        )
    known = sum(cost.seconds or 0 for cost in costs)
    return Group(
        table, Text(f"Nothing was measured. In all about {_duration(known)} on this machine.", style="dim")
    )


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
