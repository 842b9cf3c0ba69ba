"""Accuracies on corrupted images as a table, each drawn beside the clean one."""

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from specprobe_cli.output import console, interval, number
from specprobe_cli.sensitivity_table import bar
from specprobe_cli.tables import findings_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

__all__ = ["corruption_table"]

_NUMBERS_WIDTH = 86  # all columns but the drawing


def corruption_table(content: "Mapping[str, Any]", /, *, everything: bool) -> "RenderableType":
    """A row a corruption and severity.

    Parameters
    ----------
    content : mapping
        Document of kind ``corruption_accuracy``.
    everything : bool
        All findings, or the first of each code.

    Returns
    -------
    rich renderable
        A table, the means and the findings.
    """
    result = content["result"]
    clean = result["clean_accuracy"]
    table = Table(
        title=Text(content["model"]["file"]),
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    table.add_column("corruption", no_wrap=True)
    table.add_column("severity", justify="right", no_wrap=True)
    for name in ("accuracy", "│ clean"):
        table.add_column(name, no_wrap=True)
    for name in ("change (L2)", "high freq.", "centroid"):
        table.add_column(name, justify="right", no_wrap=True)
    width = max(8, min(30, console().width - _NUMBERS_WIDTH))
    before = None
    for entry in result["entries"]:
        kind = entry["corruption"]
        table.add_row(
            kind if kind != before else "",
            str(entry["severity"]),
            interval(entry["accuracy"], entry["accuracy_interval"]),
            Text(bar(entry["accuracy"], clean, full=1, width=width), style="cyan"),
            number(entry["l2_norm"], 2),
            number(entry["high_frequency_share"]),
            number(entry["centroid_cycles_per_image"], 1),
        )
        before = kind
    white = result["white_noise_high_frequency_share"]
    table.add_row("white noise", "", "", "", "", Text(number(white), style="dim"), "")
    source = content["data"].get("name", "the data")
    lines = [Text("clean accuracy  ", style="bold")]
    lines[0].append(interval(clean, result["clean_accuracy_interval"]), style="")
    lines[0].append(f"  ({result['images']} images of {source}; chance {result['chance']:.3f})", style="dim")
    mean = Text("mean error  ", style="bold")
    bounds = result["mean_corruption_error_interval"]
    value = result["mean_corruption_error"]
    mean.append(number(value) if bounds is None else interval(value, bounds), style="")
    mean.append("  (over corruptions and severities, divided by no other model's)", style="dim")
    lines.append(mean)
    told = (
        f"High freq.: share of the change's power above a quarter of the side; centroid in cycles per image. "
        f"{100 * result['confidence']:g} % intervals."
    )
    rank = result["rank_correlation"]
    if rank is not None:
        told += f" Rank correlation of that share with the accuracy lost: {rank:.2f}."
    lines.append(Text(told, style="dim"))
    return Group(table, Text(""), *lines, *findings_lines(result["findings"], everything=everything))
