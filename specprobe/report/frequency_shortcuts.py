"""Figures of frequency shortcuts: what each class needs, and how it does on that alone."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.report.sensitivity import draw_rings
from specprobe.spectral.grid import frequencies

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from specprobe.analysis.frequency_shortcuts_rates import FrequencyShortcuts
    from specprobe.analysis.frequency_shortcuts_result import FrequencyDeletion
    from specprobe.analysis.frequency_shortcuts_spectra import ClassSpectra

__all__ = ["SHOWN", "draw_class_spectra", "draw_deletion", "draw_shortcuts"]

SHOWN = 10
"""Classes that have a map of their own; the title says where there are more."""

_COLUMNS = 5
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINES = ("-", "--", "-.", ":")


def draw_shortcuts(result: "FrequencyShortcuts", /, *, title: str = "") -> "Figure":
    """A map a class of what each frequency is worth, and the rates on images that keep the dominant ones alone.

    Parameters
    ----------
    result : FrequencyShortcuts
        With or without per-image arrays.
    title : str
        Above the figure, without mathematical markup.

    Returns
    -------
    matplotlib.figure.Figure
        Belongs to no window.
    """
    deletion = result.deletion
    figure, grid, below = _with_maps(len(deletion.class_labels), below=True)
    _deletion_maps(figure, grid, deletion, outline=result.keep[0])
    left, right = below
    for axis, name, label in (
        (left, "true", "true-positive rate"),
        (right, "false", "false-positive rate"),
    ):
        _rates(axis, result, name)
        axis.set_ylabel(label)
    handles, labels = left.get_legend_handles_labels()
    left.legend(
        handles, labels, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False
    )
    name = f"{title}: " if title else ""
    figure.suptitle(
        f"{name}{_measured(deletion)}, outlined: the {100 * result.keep[0]:g} % that matter most; below: images that "
        f"keep dominant frequencies alone, {result.images} images, {100 * result.confidence:g} % intervals"
        f"{_more(len(deletion.class_labels))}",
        parse_math=False,
        fontsize="medium",
        wrap=True,
    )
    return figure


def draw_deletion(result: "FrequencyDeletion", /, *, title: str = "") -> "Figure":
    """A map a class of what each frequency is worth.

    Parameters
    ----------
    result : FrequencyDeletion
        With or without per-image arrays.
    title : str
        Above the figure, without mathematical markup.

    Returns
    -------
    matplotlib.figure.Figure
        Belongs to no window.
    """
    figure, grid, _ = _with_maps(len(result.class_labels), below=False)
    _deletion_maps(figure, grid, result, outline=None)
    name = f"{title}: " if title else ""
    figure.suptitle(
        f"{name}{_measured(result)}, {result.images} images{_more(len(result.class_labels))}",
        parse_math=False,
        fontsize="medium",
        wrap=True,
    )
    return figure


def draw_class_spectra(result: "ClassSpectra", /, *, title: str = "") -> "Figure":
    """Magnitude by ring, relative to the mean of the classes; above, where each class lies above how many others.

    Parameters
    ----------
    result : ClassSpectra
        Maps are left out where it has none.
    title : str
        Above the figure, without mathematical markup.

    Returns
    -------
    matplotlib.figure.Figure
        Belongs to no window.
    """
    from matplotlib.figure import Figure

    difference = result.accumulative_difference
    classes = len(result.class_labels)
    if difference is None:
        figure = Figure(figsize=(7, 4.6), layout="constrained")
        axis: Any = figure.subplots()
    else:
        figure, grid, (axis, unused) = _with_maps(classes, below=True)
        unused.remove()
        image = None
        for cell, label, values in zip(grid, result.class_labels, difference, strict=False):
            image = _map(cell, result.image_size, values + 1.0, f"class {label}", classes - 1.0)
        if image is not None:
            figure.colorbar(image, ax=list(grid), shrink=0.8).set_label("classes below it less classes above")
    mean = result.ring_magnitude.mean(axis=0)
    scale = np.where(mean > 0, mean, np.nan)
    radii = np.arange(len(mean))
    for i, label in enumerate(result.class_labels[:SHOWN]):
        low, high = result.ring_magnitude_interval[i].T / scale
        style = {"color": _COLOURS[i % len(_COLOURS)], "linestyle": _LINES[i // len(_COLOURS) % len(_LINES)]}
        axis.fill_between(radii, low, high, color=style["color"], alpha=0.2, linewidth=0)
        axis.plot(radii, result.ring_magnitude[i] / scale, linewidth=1.4, label=f"class {label}", **style)
    axis.axhline(1, color="black", linewidth=0.8)
    axis.set_xlabel("ring (cycles per image)")
    axis.set_ylabel("mean magnitude over that of all classes")
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small", ncols=2, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    name = f"{title}: " if title else ""
    figure.suptitle(
        f"{name}spectra by class, {result.images} images, {100 * result.confidence:g} % intervals{_more(classes)}",
        parse_math=False,
        fontsize="medium",
        wrap=True,
    )
    return figure


def _with_maps(classes: int, *, below: bool) -> "tuple[Figure, list[Axes], tuple[Axes, Axes]]":
    """A figure with a panel a class, and two more below if asked for."""
    from matplotlib.figure import Figure

    shown = min(classes, SHOWN)
    columns = min(shown, _COLUMNS)
    rows = math.ceil(shown / columns)
    height = 2.9 * rows + 0.6
    figure = Figure(figsize=(max(2.7 * columns + 1, 8), height + (3.8 if below else 0)), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[height, 3.8]) if below else [figure, None]
    cells = list(np.ravel(parts[0].subplots(rows, columns, squeeze=False)))
    for cell in cells[shown:]:
        cell.remove()
    two: Any = tuple(parts[1].subplots(1, 2)) if below else (None, None)
    return figure, cells[:shown], two


def _map(axis: "Axes", shape: tuple[int, int], values: "NDArray[Any]", label: str, largest: float) -> Any:
    f_y, f_x = frequencies(shape)
    axis.set_facecolor("#C8C8C8")  # shows through where a cell is NaN
    image = axis.imshow(
        np.ma.masked_invalid(values),
        extent=(f_x[0] - 0.5, f_x[-1] + 0.5, f_y[-1] + 0.5, f_y[0] - 0.5),
        interpolation="nearest",
        aspect="equal" if shape[0] == shape[1] else "auto",
        cmap="PuOr_r",
        vmin=-largest or -1,
        vmax=largest or 1,
    )
    axis.set_title(label, fontsize="small")
    axis.set_xlabel("cycles per image", fontsize="small")
    axis.tick_params(labelsize="small")
    draw_rings(axis, shape)
    return image


def _deletion_maps(
    figure: "Figure", grid: "list[Axes]", result: "FrequencyDeletion", *, outline: float | None
) -> None:
    maps = result.patches.spread(result.increase)[: len(grid)]
    largest = float(np.nanmax(np.abs(maps)))
    dominant = None if outline is None else result.dominant_maps(outline)
    correlation = result.rank_correlation
    f_y, f_x = frequencies(result.image_size)
    image = None
    for row, axis in enumerate(grid):
        ranked = "" if correlation is None else f"\nfirst order ranks alike: {correlation[row]:.2f}"
        label = f"class {result.class_labels[row]}, {result.class_images[row]} images{ranked}"
        image = _map(axis, result.image_size, maps[row], label, largest)
        if dominant is not None:
            inside = dominant[row] & ~np.isnan(maps[row])
            y, x = np.nonzero(inside)
            axis.plot(
                f_x[x], f_y[y], linestyle="none", marker="s", markersize=4, fillstyle="none", color="black"
            )
    if image is not None:
        unit = (
            "logit"
            if result.loss == "logit"
            else f"{result.loss} (nats)"
            if result.loss == "cross-entropy"
            else result.loss
        )
        worth = "decrease of the " if result.loss == "logit" else "increase of the "
        figure.colorbar(image, ax=grid, shrink=0.8).set_label(f"mean {worth}{unit}")


def _measured(result: "FrequencyDeletion") -> str:
    kind = "first-order effect" if result.loss_increase is None else "loss"
    size = (
        "one frequency" if result.patch == 1 else f"a patch of {result.patch} by {result.patch} frequencies"
    )
    return f"{kind} without {size}"


def _more(classes: int) -> str:
    return f"; the first {SHOWN} of {classes} classes" if classes > SHOWN else ""


def _rates(axis: "Axes", result: "FrequencyShortcuts", name: str) -> None:
    """Rates by class, a marker a share kept; the clean rate and that of random patches as bars."""
    rows = result.to_dict()["per_class"][:SHOWN]
    places = np.arange(len(rows))
    width = 0.8 / len(result.keep)
    for i, share in enumerate(result.keep):
        at = places - 0.4 + width * (i + 0.5)
        known = [r for r in range(len(rows)) if rows[r][f"{name}_positive_rate"][i] is not None]
        value = np.array([rows[r][f"{name}_positive_rate"][i] for r in known])
        bounds = np.array([rows[r][f"{name}_positive_rate_interval"][i] for r in known]).reshape(-1, 2)
        axis.errorbar(
            at[known],
            value,
            yerr=[value - bounds[:, 0], bounds[:, 1] - value],
            color=_COLOURS[i % len(_COLOURS)],
            marker=_MARKERS[i % len(_MARKERS)],
            markersize=5,
            linestyle="none",
            capsize=2,
            label=f"{100 * share:g} % kept",
        )
        random = np.array([rows[r][f"random_{name}_positive_rate"][i] for r in known])
        axis.plot(
            at[known],
            random,
            color="grey",
            marker="_",
            markersize=9,
            linestyle="none",
            label="as many at random" if i == 0 else None,
        )
    clean = [row[f"clean_{name}_positive_rate"] for row in rows]
    for place, rate in zip(places, clean, strict=True):
        if rate is not None:
            axis.plot(
                [place - 0.42, place + 0.42],
                [rate, rate],
                color="black",
                linewidth=1,
                linestyle="--",
                label="all kept" if place == 0 else None,
            )
    axis.set_xticks(places, [str(row["label"]) for row in rows])
    axis.set_xlabel("class")
    axis.set_ylim(-0.03, 1.03)
    axis.grid(alpha=0.3, axis="y")
