"""A sensitivity as a table, its profile drawn in characters."""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from specprobe_cli.output import console, interval, number
from specprobe_cli.tables import findings_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

__all__ = ["bar", "sensitivity_profile", "sensitivity_table"]

SHOWN_ROWS = 16
_NUMBERS_WIDTH = 50  # all columns but the drawing
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def sensitivity_table(content: "Mapping[str, Any]", /, *, every_ring: bool) -> "RenderableType":
    """Profile of a sensitivity beside that of white noise, its summary and its findings.

    Parameters
    ----------
    content : mapping
        Document of kind ``fourier_sensitivity``.
    every_ring : bool
        A row a ring, and all findings; otherwise neighbouring rings share a row where there are many.

    Returns
    -------
    rich renderable
        Tables one below the other.
    """
    result = content["result"]
    return Group(
        sensitivity_profile(result, content["model"]["file"], every_ring=every_ring),
        *_accuracy(result, content["data"]),
        *findings_lines(result["findings"], everything=every_ring),
    )


def sensitivity_profile(
    result: "Mapping[str, Any]", title: str, /, *, every_ring: bool = False
) -> "RenderableType":
    """Profile and summary of a sensitivity.

    Parameters
    ----------
    result : mapping
        ``result`` of a document of kind ``fourier_sensitivity``.
    title : str
        Above the table.
    every_ring : bool
        A row a ring; otherwise neighbouring rings share a row where there are many.

    Returns
    -------
    rich renderable
        Tables one below the other.
    """
    profile = _profile(result, title, every_ring=every_ring)
    return Group(profile, Text(""), _summary(result), Text(_told(result), style="dim"))


def bar(value: float, reference: float, /, *, full: float, width: int) -> str:
    """A bar as long as ``value``, with a line where ``reference`` lies.

    Parameters
    ----------
    value, reference : float
        From 0 to ``full``.
    full : float
        What a bar over the whole width stands for.
    width : int
        In characters.

    Returns
    -------
    str
        Of ``width`` characters.
    """
    eighths = round(8 * width * value / full)
    drawn = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    cells = list(drawn.ljust(width))
    place = min(width - 1, int(width * reference / full))
    cells[place] = "│" if cells[place] == " " else "┃"
    return "".join(cells)


def _profile(result: "Mapping[str, Any]", title: str, *, every_ring: bool) -> Table:
    rings, share, white = result["cycles_per_image"], result["power_share"], result["white_noise_share"]
    bounds = result["power_share_interval"]
    size = 1 if every_ring else -(-len(rings) // SHOWN_ROWS)
    size = 1 if len(rings) <= 2 * SHOWN_ROWS else size
    edges = [*range(0, len(rings), size), len(rings)]
    rows = [(a, b, sum(share[a:b]), sum(white[a:b])) for a, b in pairwise(edges) if any(white[a:b])]
    full = max(max(value, reference) for _, _, value, reference in rows)
    width = max(12, min(48, console().width - _NUMBERS_WIDTH))
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("cycles/image", justify="right", no_wrap=True)
    table.add_column("share of power", justify="left", no_wrap=True)
    table.add_column("white", justify="right", no_wrap=True)
    table.add_column("│ white noise", no_wrap=True)
    for a, b, value, reference in rows:
        label = str(rings[a]) if b - a == 1 else f"{rings[a]}–{rings[b - 1]}"
        told = interval(value, bounds[a]) if b - a == 1 and bounds is not None else number(value)
        table.add_row(
            label,
            told,
            number(reference),
            Text(bar(value, reference, full=full, width=width), style="cyan"),
        )
    return table


def _summary(result: "Mapping[str, Any]") -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "value", "white noise", "std over images"):
        table.add_column(name, justify="left" if name in {"", "value"} else "right", no_wrap=True)
    low, mid = result["band_limits_cycles_per_image"]
    last = result["cycles_per_image"][-1]
    bands = {"low": f"1–{low}", "mid": f"{low + 1}–{mid}", "high": f"{mid + 1}–{last}"}
    for name, limits in bands.items():
        key = f"{name}_share"
        white = number(result[f"white_noise_{key}"])
        table.add_row(f"{name} ({limits})", _estimate(result, key), white, number(result[f"{key}_std"]))
    for key, label in (
        ("centroid_cycles_per_image", "centroid (cycles/image)"),
        ("spectral_entropy_bits", "spectral entropy (bits)"),
    ):
        table.add_row(label, _estimate(result, key), "", number(result[f"{key}_std"]))
    return table


def _estimate(result: "Mapping[str, Any]", key: str) -> str:
    bounds = result[f"{key}_interval"]
    return number(result[key]) if bounds is None else interval(result[key], bounds)


def _accuracy(result: "Mapping[str, Any]", data: "Mapping[str, Any]") -> list[Text]:
    if result["clean_accuracy"] is None:
        return []
    line = Text("accuracy  ", style="bold")
    line.append(interval(result["clean_accuracy"], result["clean_accuracy_interval"]), style="")
    source = data.get("name", "the data")
    line.append(f"  ({result['correct']} of {result['images']} images of {source}; ", style="dim")
    line.append(f"chance {result['chance']:.3f})", style="dim")
    return [line]


def _told(result: "Mapping[str, Any]") -> str:
    share, rings = result["power_share"], result["cycles_per_image"]
    peak = max(range(len(share)), key=share.__getitem__)
    target = {"true": "label", "predicted": "predicted class"}[result["target"]]
    channels = {"power": "power of each channel", "mean_before": "power of the channels' mean"}
    drawn = result["frequencies_per_ring"]
    how = "Gradient" if result["method"] == "gradient" else "Finite differences"
    if drawn is not None:
        how += f" ({drawn} frequencies a ring)"
    if result["model_evaluations"] is not None:
        how += f", {result['model_evaluations']} model runs,"
    return (
        f"Largest at {rings[peak]} cycles/image ({share[peak]:.4f}). {how} of {result['loss']} at the {target}, "
        f"{channels[result['channels']]}, {result['basis']} basis, ring sums; mean over "
        f"{result['images'] - result['dropped']} images, {100 * result['confidence']:g} % intervals."
    )
