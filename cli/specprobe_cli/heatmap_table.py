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
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from rich.console import RenderableType

    from specprobe.analysis.heatmap_result import FourierHeatmap

__all__ = ["heatmap_table"]

SHOWN_ROWS = 16
_NUMBERS_WIDTH = 82  # all columns but the drawing
_BANDS = ("low", "mid", "high")
_MEANS = ("error_rate", "loss_increase")
_CORRELATIONS = (("rank_correlation", "flips"), ("derivative_rms_rank_correlation", "rms derivative"))


def heatmap_table(
    content: "Mapping[str, Any]", /, *, every_ring: bool, measured: "FourierHeatmap | None" = None
) -> "RenderableType":
    """Mean error by ring and band, the worst frequency, and what the first order is worth.

    Parameters
    ----------
    content : mapping
        Document of kind ``fourier_heatmap``.
    every_ring : bool
        A row a ring, and all findings; otherwise neighbouring rings share a row where there are many.
    measured : FourierHeatmap, optional
        What the document was made of: gives intervals to rows that several rings share.

    Returns
    -------
    rich renderable
        Tables one below the other.
    """
    result = content["result"]
    parts: list[RenderableType] = [
        _rings(result, content["model"]["file"], every_ring=every_ring, measured=measured),
        Text(""),
        _summary(result, content["data"]),
        Text(_told(result), style="dim"),
    ]
    if result["flip_probability"] is not None:
        parts += _meaning(result)
    return Group(*parts, *findings_lines(result["findings"], everything=every_ring))


def _rings(
    result: "Mapping[str, Any]", title: str, *, every_ring: bool, measured: "FourierHeatmap | None"
) -> Table:
    """A row a ring, or a few of them, within their bands; then a row a band."""
    from specprobe.spectral.grid import ring_bands, rings

    shape = (result["image_size"][0], result["image_size"][1])
    ring = rings(shape)
    last = int(ring.max())
    bands = [(max(b.start, 1), min(b.stop or last + 1, last + 1)) for b in ring_bands(shape)]
    names = [(name, *band) for name, band in zip(_BANDS, bands, strict=True)]
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
        known = _ring_intervals(result, a, b, measured)
        _row(table, result, name, _range(a, b), (ring >= a) & (ring < b), known)
    table.add_row()
    for name, a, b in names:
        bounds = [result[f"band_{key}_interval"] for key in _MEANS]
        known = [None if part is None else part[_BANDS.index(name)] for part in bounds]
        _row(table, result, name, _range(a, b), (ring >= a) & (ring < b), known, style="bold")
    return table


def _ring_intervals(
    result: "Mapping[str, Any]", start: int, stop: int, measured: "FourierHeatmap | None"
) -> "list[Sequence[float] | None]":
    """Intervals of error and loss over some rings, where they are known."""
    if stop - start == 1:
        held = [result[f"ring_{key}_interval"] for key in _MEANS]
        return [None if part is None else part[start] for part in held]
    if measured is None:
        return [None, None]
    from specprobe.analysis.heatmap_rings import estimate

    found = [estimate(measured, key, start, stop) for key in _MEANS]
    return [None if part is None else part[1] for part in found]


def _row(
    table: Table,
    result: "Mapping[str, Any]",
    band: str,
    label: str,
    cells: "NDArray[np.bool_]",
    intervals: "Sequence[Sequence[float] | None]",
    style: str | None = None,
) -> None:
    """Means over the cells of a map that were evaluated."""
    error, loss = _map(result["error_rate"])[cells], _map(result["loss_increase"])[cells]
    evaluated = ~np.isnan(error)
    width = max(12, min(40, console().width - _NUMBERS_WIDTH))
    known = bool(evaluated.any())
    mean = float(error[evaluated].mean()) if known else None
    means = (mean, float(np.mean(loss[evaluated])) if known else None)
    numbers = [_with_interval(value, bounds) for value, bounds in zip(means, intervals, strict=True)]
    if result["flip_probability"] is not None:
        numbers.append(number(float(_map(result["flip_probability"])[cells].mean())))
    drawn = "not evaluated" if mean is None else bar(mean, result["clean_error_rate"], full=1, width=width)
    shade = "dim" if mean is None else "cyan"
    table.add_row(label, band, str(int(evaluated.sum())), *numbers, Text(drawn, style=shade), style=style)


def _with_interval(value: float | None, bounds: "Sequence[float | None] | None") -> str:
    ends = [end for end in bounds or () if end is not None and np.isfinite(end)]
    return number(value) if value is None or len(ends) < 2 else interval(value, ends)


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
    if result["refine"] is not None:
        levels = result["refinement_levels"]
        strides = ", ".join(
            f"{sum(part['frequencies'] for part in levels if part['stride'] == stride)} at stride {stride}"
            for stride in dict.fromkeys(part["stride"] for part in levels)
        )
        evaluations += f", {len(levels)} pass{'es' * (len(levels) > 1)}: {strides}"
    table.add_row("evaluations", evaluations)
    for layer in result["layers"] or ():
        table.add_row("tensor", _layer(result, layer))
    return table


def _layer(result: "Mapping[str, Any]", layer: "Mapping[str, Any]") -> Text:
    """Mean change of one tensor over the map, and the frequency that moves it most."""
    from specprobe.graph.limits import printable

    relative = _map(layer["layer_relative_change"])
    line = Text(printable(layer["name"]))
    change = _map(layer["layer_change"])
    line.append(f"  mean L2 change {np.nanmean(change):.3g}")
    if np.isfinite(relative).any():
        line.append(f", {np.nanmean(relative):.3f} of its norm")
    f_y, f_x, rho = _frequency(result, np.nanargmax(change))
    line.append(f"; largest {np.nanmax(change):.3g} at ({f_y}, {f_x}), {rho:.1f} cycles/image")
    return line


def _frequency(result: "Mapping[str, Any]", place: "np.intp") -> tuple[int, int, float]:
    """Frequency of a cell of the map, as its raster-first conjugate, and its radius."""
    from specprobe.spectral.grid import frequency_index, radius, real_frequencies

    shape = (result["image_size"][0], result["image_size"][1])
    row, column = (int(n) for n in np.unravel_index(place, shape))
    f_y, f_x = real_frequencies(shape)[frequency_index(shape)[row, column]]
    return int(f_y), int(f_x), float(radius(shape)[row, column])


def _worst(result: "Mapping[str, Any]") -> Text:
    """The frequency of most errors; of equal ones, that of the largest loss."""
    from specprobe.spectral.grid import frequency_index

    shape = (result["image_size"][0], result["image_size"][1])
    error, loss = _map(result["error_rate"]), _map(result["loss_increase"])
    largest = np.nanmax(error)
    ties = error == largest
    place = np.nanargmax(np.where(ties, loss, np.nan))
    row, column = divmod(int(place), shape[1])
    f_y, f_x, rho = _frequency(result, place)
    line = Text(interval(error[row, column], result["error_rate_interval"][row][column]))
    line.append(f"  at (f_y, f_x) = ({f_y}, {f_x}), {rho:.1f} cycles/image")
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
        f"channel, {wave}, {'clipped to [0, 1]' if result['clip'] else 'not clipped'}; means over "
        f"evaluated cells; {100 * result['confidence']:g} % intervals for the images."
    )


def _frequencies(result: "Mapping[str, Any]") -> int:
    from specprobe.spectral.grid import real_frequencies

    return len(real_frequencies((result["image_size"][0], result["image_size"][1])))


def _range(low: int, stop: int) -> str:
    return str(low) if stop - low == 1 else f"{low}–{stop - 1}"


def _map(cells: Any) -> "NDArray[np.float64]":
    return np.asarray(cells, np.float64)  # null becomes NaN
