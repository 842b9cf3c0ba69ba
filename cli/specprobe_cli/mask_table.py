"""Fourier masks as tables: where they lie, what they keep, and how two of them differ."""

import math
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

__all__ = ["mask_table", "pair_tables"]

SHOWN_ROWS = 16
_NUMBERS_WIDTH = 34  # all columns but the drawing
_SHARES = (
    ("accuracy", "accuracy"),
    ("masked_accuracy", "under the mask"),
    ("complement_accuracy", "under its complement"),
    ("agreement", "agreement"),
    ("held_out_agreement", "agreement, held-out images"),
    ("complement_agreement", "agreement under the complement"),
)
_DIFFERENCES = (
    ("density", "density"),
    ("low_share", "low share"),
    ("mid_share", "mid share"),
    ("high_share", "high share"),
    ("centroid_cycles_per_image", "centroid (cycles/image)"),
    ("axis_diagonal_contrast", "axes over diagonals"),
)


def mask_table(content: "Mapping[str, Any]", /, *, every_band: bool) -> "RenderableType":
    """Energy by radius, accuracies and agreement, cost and findings.

    Parameters
    ----------
    content : mapping
        Document of kind ``fourier_mask``.
    every_band : bool
        A row a band, and all findings; otherwise bands share rows.

    Returns
    -------
    rich renderable
        Tables one below the other.
    """
    result = content["result"]
    return Group(
        _profile(result, content["model"]["file"], every_band=every_band),
        Text(""),
        _kept(result),
        Text(_told(result, content["data"]), style="dim"),
        *findings_lines(result["findings"], everything=every_band),
    )


def pair_tables(
    first: "Mapping[str, Any]",
    second: "Mapping[str, Any]",
    difference: "Mapping[str, Any]",
    /,
    *,
    every_band: bool,
) -> "RenderableType":
    """Two masks, and how they differ.

    Parameters
    ----------
    first, second : mapping
        Documents of kind ``fourier_mask``.
    difference : mapping
        Document of kind ``mask_difference``, of the first less the second.
    every_band : bool
        As of :func:`mask_table`.

    Returns
    -------
    rich renderable
        Tables one below the other.
    """
    result = difference["result"]
    table = _plain("first less second")
    for name in ("", "first", "second", "difference"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for key, label in _DIFFERENCES:
        bounds = result[f"{key}_difference_interval"]
        value = result[f"{key}_difference"]
        known = value is not None and bounds is not None and None not in bounds
        shown = interval(value, bounds) if known else number(value)
        table.add_row(label, *(number(part) for part in result[key]), shown)
    parts = [mask_table(content, every_band=every_band) for content in (first, second)]
    lines = findings_lines(result["findings"], everything=every_band)
    return Group(parts[0], Text(""), parts[1], Text(""), table, *lines)


def _plain(title: str) -> Table:
    return Table(title=Text(title), title_justify="left", box=None, pad_edge=False, header_style="bold")


def _profile(result: "Mapping[str, Any]", title: str, *, every_band: bool) -> Table:
    """Energy by radial band: squares add up where bands share a row."""
    import numpy as np

    from specprobe.analysis.mask_energy import radial_energy

    energies = result["radial_energy"]
    _, height, width = result["image_shape"]
    whole = radial_energy(np.ones((height, width)), bands=len(energies))
    step = min(height, width) / math.sqrt(2) / len(energies)
    size = 1 if every_band else -(-len(energies) // SHOWN_ROWS)
    rows = []
    for start in range(0, len(energies), size):
        stop = min(start + size, len(energies))
        energy, ones = (math.sqrt(sum(value**2 for value in of[start:stop])) for of in (energies, whole))
        if ones > 0:  # narrow bands of small images hold no frequency
            rows.append((f"{start * step:.1f}–{stop * step:.1f}", energy, ones))
    full = max(max(row[1:]) for row in rows)
    table = _plain(title)
    table.add_column("cycles/image", justify="right", no_wrap=True)
    table.add_column("energy", justify="right", no_wrap=True)
    table.add_column("│ mask of ones", no_wrap=True)
    across = max(12, min(48, console().width - _NUMBERS_WIDTH))
    for label, energy, ones in rows:
        table.add_row(label, number(energy), bar(energy, ones, full=full, width=across))
    return table


def _kept(result: "Mapping[str, Any]") -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    for key, label in _SHARES:
        if result[key] is not None:
            table.add_row(label, interval(result[key], result[f"{key}_interval"]))
    density, bounds = result["density"], result["density_interval"]
    known = bounds is not None and None not in bounds
    table.add_row("density", interval(density, bounds) if known else number(density))
    return table


def _told(result: "Mapping[str, Any]", data: "Mapping[str, Any]") -> str:
    settings = result["settings"]
    each = "a mask an image" if settings["per_image"] else "one mask"
    channels = ", each channel its own" if settings["per_channel"] else ""
    unit = "steps" if settings["per_image"] else "epochs"
    chance = "" if result["chance"] is None else f" Chance {result['chance']:.3f}."
    return (
        f"{each[0].upper()}{each[1:]}{channels}, preset {settings['preset']}, on {result['images']} images of "
        f"{data.get('name', 'the data')}: {result['gradient_evaluations']} gradients and "
        f"{result['forward_evaluations']} forward passes in {result['epochs']} {unit}.{chance} Energy: norm of the "
        f"mask's part, the whole scaled to 1. {100 * result['confidence']:g} % intervals."
    )
