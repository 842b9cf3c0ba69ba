"""Band accuracies as tables, each accuracy drawn beside the clean one."""

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

__all__ = ["band_curves", "band_tables", "radius_95"]

SHOWN_CLASSES = 100
_NUMBERS_WIDTH = 78  # all columns but the drawings
_PAIRS = (
    ("low_pass", "high_pass", "cut-off", ("low-pass", "high-pass")),
    ("band_pass", "band_stop", "band", ("band alone", "without band")),
    ("wedge_pass", "wedge_stop", "wedge", ("wedge alone", "without wedge")),
)


def band_tables(content: "Mapping[str, Any]", /, *, every_class: bool) -> "RenderableType":
    """Accuracy and agreement filter by filter, the summary and the findings.

    Parameters
    ----------
    content : mapping
        Document of kind ``band_accuracy``.
    every_class : bool
        A row a class as well, and all findings.

    Returns
    -------
    rich renderable
        Tables one below the other.
    """
    result = content["result"]
    parts = band_curves(result, content["model"]["file"])
    if every_class and result["per_class"]:
        parts += [_classes(result), Text("")]
    parts += [_clean(result, content["data"]), *radius_95(result), Text(_told(result), style="dim")]
    return Group(*parts, *findings_lines(result["findings"], everything=every_class))


def band_curves(result: "Mapping[str, Any]", title: str, /) -> "list[RenderableType]":
    """Accuracy and agreement filter by filter.

    Parameters
    ----------
    result : mapping
        ``result`` of a document of kind ``band_accuracy``.
    title : str
        Above the first table.

    Returns
    -------
    list of rich renderable
        A table for each pair of complementary filters, an empty line below each.
    """
    parts: list[RenderableType] = []
    for kept, removed, label, names in _PAIRS:
        if result[kept]:
            pair = _pair(result, result[kept], result[removed], label, names, "" if parts else title)
            parts += [pair, Text("")]
    return parts


def _pair(
    result: "Mapping[str, Any]",
    kept: "list[Mapping[str, Any]]",
    removed: "list[Mapping[str, Any]]",
    label: str,
    names: tuple[str, str],
    title: str,
) -> Table:
    """Two complementary filters side by side."""
    labelled = result["clean_accuracy"] is not None
    key = "accuracy" if labelled else "agreement"
    clean = result["clean_accuracy"] if labelled else 1.0
    width = max(6, min(20, (console().width - _NUMBERS_WIDTH) // 2))
    table = Table(
        title=Text(title) if title else None,
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    table.add_column(label, justify="right", no_wrap=True)
    for name in names:
        table.add_column(name, no_wrap=True)
        table.add_column("│ clean" if labelled else "", no_wrap=True)
        table.add_column("agrees" if labelled else "confid.", justify="right", no_wrap=True)
    for pair in zip(kept, removed, strict=True):
        row: list[str | Text] = [_setting(pair[0])]
        for entry in pair:
            drawn = Text(bar(entry[key], clean, full=1, width=width), style="cyan")
            beside = entry["agreement" if labelled else "mean_confidence"]
            row += [interval(entry[key], entry[f"{key}_interval"]), drawn, number(beside)]
        table.add_row(*row)
    return table


def _setting(entry: "Mapping[str, Any]") -> str:
    if "radius" in entry:
        return f"{entry['radius']:g}"
    if "low_degrees" in entry:
        return f"{entry['low_degrees']:g}°:{entry['high_degrees']:g}°"
    return f"{entry['low']:g}:" + ("" if entry["high"] is None else f"{entry['high']:g}")


def _classes(result: "Mapping[str, Any]") -> Table:
    """Accuracy under a few of the low-pass filters, class by class."""
    radii = [entry["radius"] for entry in result["low_pass"]]
    places = sorted({round(i * (len(radii) - 1) / 5) for i in range(6)}) if radii else []
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("class", "images", "clean accuracy", *(f"low-pass {radii[i]:g}" for i in places)):
        table.add_column(name, justify="right", no_wrap=True)
    for part in result["per_class"][:SHOWN_CLASSES]:
        shares = [number(part["low_pass_accuracy"][i]) for i in places]
        clean = interval(part["clean_accuracy"], part["clean_accuracy_interval"])
        table.add_row(str(part["label"]), str(part["images"]), clean, *shares)
    return table


def radius_95(result: "Mapping[str, Any]", /) -> list[Text]:
    """Cut-off of the low-pass that is enough.

    Parameters
    ----------
    result : mapping
        ``result`` of a document of kind ``band_accuracy``.

    Returns
    -------
    list of Text
        One line, or none where there is no such radius.
    """
    if result["radius_95"] is None:
        return []
    low, high = result["radius_95_interval"]
    line = Text("radius_95  ", style="bold")
    line.append(f"{result['radius_95']:g} [{low:g}, {'–' if high is None else f'{high:g}'}]", style="")
    line.append("  (cycles per image; low-pass that keeps 95 % of the clean accuracy)", style="dim")
    return [line]


def _clean(result: "Mapping[str, Any]", data: "Mapping[str, Any]") -> Text:
    told = f"{result['images']} images of {data.get('name', 'the data')}"
    if result["clean_accuracy"] is None:
        return Text(told, style="dim")
    line = Text("clean accuracy  ", style="bold")
    line.append(interval(result["clean_accuracy"], result["clean_accuracy_interval"]), style="")
    line.append(f"  ({told}; chance {result['chance']:.3f})", style="dim")
    return line


def _told(result: "Mapping[str, Any]") -> str:
    filtered = ", ".join(
        [
            "clipped to [0, 1]" if result["clip"] else "not clipped",
            "mean restored" if result["mean_restored"] else "mean not restored",
        ]
    )
    return (
        f"Filtered images {filtered}. {100 * result['confidence']:g} % intervals. "
        f"{result['model_evaluations']} images classified."
    )
