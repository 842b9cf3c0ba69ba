"""A heat map as a table: errors by ring, drawn beside the clean error."""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from specprobe_cli.output import console, interval, number
from specprobe_cli.sensitivity_table import bar
from specprobe_cli.tables import findings_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from rich.console import RenderableType

__all__ = ["heatmap_table"]

SHOWN_ROWS = 16
_NUMBERS_WIDTH = 68  # all columns but the drawing
_CORRELATIONS = (("rank_correlation", "flips"), ("derivative_rms_rank_correlation", "rms derivative"))


def heatmap_table(content: "Mapping[str, Any]", /, *, every_ring: bool) -> "RenderableType":
    """Mean error by ring and band, the worst frequency, and what the first order is worth.

    Parameters
    ----------
    content : mapping
        Document of kind ``fourier_heatmap``.
    every_ring : bool
        A row a ring, and all findings; otherwise neighbouring rings share a row where there are many.

    Returns
    -------
    rich renderable
        Tables one below the other.
    """
    result = content["result"]
    parts: list[RenderableType] = [
        _rings(result, content["model"]["file"], every_ring=every_ring),
        Text(""),
        _summary(result, content["data"]),
        Text(_told(result), style="dim"),
    ]
    if result["flip_probability"] is not None:
        parts += _meaning(result)
    return Group(*parts, *findings_lines(result["findings"], everything=every_ring))


def _rings(result: "Mapping[str, Any]", title: str, *, every_ring: bool) -> Table:
    """A row a ring, or a few of them, within their bands; then a row a band."""
    from specprobe.spectral.grid import ring_bands, rings

    shape = (result["image_size"][0], result["image_size"][1])
    ring = rings(shape)
    last = int(ring.max())
    bands = [(max(b.start, 1), min(b.stop or last + 1, last + 1)) for b in ring_bands(shape)]
    names = [(name, *band) for name, band in zip(("low", "mid", "high"), bands, strict=True)]
    names = [(name, a, b) for name, a, b in names if a < b]
    size = 1 if every_ring or last <= 2 * SHOWN_ROWS else -(-last // SHOWN_ROWS)
    rows = [("mean", 0, 1)]
    for name, a, b in names:
        rows += [(name, low, high) for low, high in pairwise([*range(a, b, size), b])]

    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in ("cycles/image", "band", "cells"):
        table.add_column(name, justify="left" if name == "band" else "right", no_wrap=True)
    for name in ("error", "loss incr.", *(["flips"] if result["flip_probability"] is not None else [])):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("│ clean error", no_wrap=True)
    for name, a, b in rows:
        _row(table, result, name, _range(a, b), (ring >= a) & (ring < b))
    table.add_row()
    for name, a, b in names:
        _row(table, result, name, _range(a, b), (ring >= a) & (ring < b), style="bold")
    return table


def _row(
    table: Table,
    result: "Mapping[str, Any]",
    band: str,
    label: str,
    cells: "NDArray[np.bool_]",
    style: str | None = None,
) -> None:
    """Means over the cells of a map that were evaluated."""
    error, loss = _map(result["error_rate"])[cells], _map(result["loss_increase"])[cells]
    evaluated = ~np.isnan(error)
    width = max(12, min(40, console().width - _NUMBERS_WIDTH))
    known = bool(evaluated.any())
    mean = float(error[evaluated].mean()) if known else None
    numbers = [number(mean), number(float(np.mean(loss[evaluated])) if known else None)]
    if result["flip_probability"] is not None:
        numbers.append(number(float(_map(result["flip_probability"])[cells].mean())))
    drawn = "not evaluated" if mean is None else bar(mean, result["clean_error_rate"], full=1, width=width)
    shade = "dim" if mean is None else "cyan"
    table.add_row(label, band, str(int(evaluated.sum())), *numbers, Text(drawn, style=shade), style=style)


def _summary(result: "Mapping[str, Any]", data: "Mapping[str, Any]") -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    source = data.get("name", "the data")
    clean = Text(interval(result["clean_error_rate"], result["clean_error_rate_interval"]))
    told = f"  ({result['images']} images of {source}"
    told += f"; accuracy {result['clean_accuracy']:.3f}, " if result["clean_accuracy"] is not None else ")"
    told += f"chance {result['chance']:.3f})" if result["clean_accuracy"] is not None else ""
    table.add_row("clean error", clean.append(told, style="dim"))
    table.add_row("worst frequency", _worst(result))
    for key, name in _CORRELATIONS:
        if result["flip_probability"] is not None:
            bounds = result[f"{key}_interval"]
            value = result[key]
            shown = number(value) if value is None or bounds is None else interval(value, bounds)
            table.add_row(f"rank correlation, {name}", shown)
    evaluations = f"{result['model_evaluations']} model runs"
    if result["gradient_evaluations"]:
        evaluations += f", {result['gradient_evaluations']} gradients"
    total = _frequencies(result)
    evaluations += f"; {result['frequencies_evaluated']} of {total} frequencies"
    table.add_row("evaluations", evaluations)
    return table


def _worst(result: "Mapping[str, Any]") -> Text:
    """The frequency of most errors; of equal ones, that of the largest loss."""
    from specprobe.spectral.grid import frequency_index, radius, real_frequencies

    shape = (result["image_size"][0], result["image_size"][1])
    error, loss = _map(result["error_rate"]), _map(result["loss_increase"])
    largest = np.nanmax(error)
    ties = error == largest
    place = np.unravel_index(np.nanargmax(np.where(ties, loss, np.nan)), shape)
    row, column = int(place[0]), int(place[1])
    f_y, f_x = real_frequencies(shape)[frequency_index(shape)[row, column]]
    line = Text(interval(error[row, column], result["error_rate_interval"][row][column]))
    line.append(f"  at (f_y, f_x) = ({f_y}, {f_x}), {radius(shape)[row, column]:.1f} cycles/image")
    others = len(np.unique(frequency_index(shape)[ties])) - 1
    if others:
        line.append(f"; {others} more with as many errors", style="dim")
    return line


def _meaning(result: "Mapping[str, Any]") -> "list[RenderableType]":
    parts: list[RenderableType] = [
        Text(
            "Rank correlation (Spearman's) of a first-order map and the error measured under the sampled "
            "frequencies: 1 the same order, 0 none.",
            style="dim",
        )
    ]
    bounds = {name: result[f"{key}_interval"] for key, name in _CORRELATIONS}
    doubtful = [name for name, known in bounds.items() if known is None or known[0] <= 0]
    if doubtful:
        line = Text("warning: ", style="yellow")
        line.append(
            f"not shown to rank the frequencies of this model: {', '.join(doubtful)}; measure the map, without "
            "--first-order",
            style="",
        )
        parts.append(line)
    return parts


def _told(result: "Mapping[str, Any]") -> str:
    target = {
        "true": "answers other than the label",
        "predicted": "answers other than that to the clean image",
    }
    phase = result["basis_phase"]
    wave = f"phase {phase}°" if phase in {"0", "45"} else f"phase {phase}"
    return (
        f"Errors: {target[result['target']]}. One wave at a time, L2 norm {result['l2_norm_per_channel']:g} a "
        f"channel, {wave}, {'clipped to [0, 1]' if result['clip'] else 'not clipped'}; means over cells of the "
        f"map; {100 * result['confidence']:g} % intervals."
    )


def _frequencies(result: "Mapping[str, Any]") -> int:
    from specprobe.spectral.grid import real_frequencies

    return len(real_frequencies((result["image_size"][0], result["image_size"][1])))


def _range(low: int, stop: int) -> str:
    return str(low) if stop - low == 1 else f"{low}–{stop - 1}"


def _map(cells: Any) -> "NDArray[np.float64]":
    return np.asarray(cells, np.float64)  # null becomes NaN
