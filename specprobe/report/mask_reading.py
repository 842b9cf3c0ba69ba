"""Figure of a difference of masks: by radius, by direction, and as a map."""

from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.report.sensitivity import draw_rings
from specprobe.spectral.grid import frequencies

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from specprobe.analysis.mask_reading_result import MaskDifference

__all__ = ["draw_difference_map", "draw_mask_difference", "draw_profile"]

# Okabe and Ito's palette: told apart by readers of any colour vision.
_BLUE, _RED, _GREEN = "#0072B2", "#D55E00", "#009E73"
_LABELS = {
    "radial": "radius (cycles per image)",
    "angular": "direction (degrees, counter-clockwise from the right)",
}


def draw_mask_difference(result: "MaskDifference", /, *, title: str = "") -> "Figure":
    """Difference of the energies by radius and by direction; with masks of images, also the share that has more; the map.

    Parameters
    ----------
    result : MaskDifference
        The map is left out where it has none.
    title : str
        Above the figure, such as which model less which; without mathematical markup.

    Returns
    -------
    matplotlib.figure.Figure
        Belongs to no window.
    """
    from matplotlib.figure import Figure

    shares = result.of == "images"
    panels = 2 + shares + (result.difference_map is not None)
    figure = Figure(figsize=(5.0 * panels, 4.6), layout="constrained")
    axes = list(np.ravel(figure.subplots(1, panels)))
    draw_profile(axes.pop(0), result, "radial")
    if shares:
        _shares(axes.pop(0), result)
    draw_profile(axes.pop(0), result, "angular")
    if axes:
        draw_difference_map(axes[0], result)
    name = f"{title}: " if title else ""
    many = {
        "mask": "one mask each",
        "images": f"masks of {result.masks} images, {100 * result.confidence:g} % intervals",
        "folds": f"masks of {result.masks} parts of the images, bars: standard deviation over them",
    }
    figure.suptitle(f"{name}energy of the masks, {many[result.of]}", parse_math=False, fontsize="medium")
    return figure


def draw_profile(axis: "Axes", result: "MaskDifference", profile: str, /) -> None:
    """Difference of the energies by band, with intervals or spread where there are any.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Drawn into.
    result : MaskDifference
        Of any kind.
    profile : {"radial", "angular"}
        What bands are by.
    """
    values = getattr(result, f"{profile}_difference")
    held = ~np.isnan(values)
    places = (
        result.radial_centres if profile == "radial" else (np.arange(len(values)) + 0.5) * 360 / len(values)
    )
    interval, std = (getattr(result, f"{profile}_difference{ending}") for ending in ("_interval", "_std"))
    bars: Any = None
    if interval is not None:
        bars = np.abs(interval[held].T - values[held])
    elif std is not None:
        bars = std[held]
    axis.axhline(0, color="black", linewidth=0.8)
    axis.errorbar(
        places[held],
        values[held],
        yerr=bars,
        color=_BLUE,
        marker="o",
        markersize=3.5,
        linewidth=1.2,
        capsize=2,
    )
    if profile == "angular":
        axis.set_xticks(np.arange(0, 361, 45))
    axis.set_xlabel(_LABELS[profile])
    axis.set_ylabel("difference of energy (first less second)")
    axis.grid(alpha=0.3)


def draw_difference_map(axis: "Axes", result: "MaskDifference", /) -> None:
    """Mean difference of the masks, of which channels are averaged; 0 is in the middle of the colours.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Drawn into.
    result : MaskDifference
        With a map.
    """
    shape = result.image_shape[1:]
    values = np.zeros(shape) if result.difference_map is None else result.difference_map.mean(axis=0)
    largest = float(np.abs(values).max()) or 1.0
    f_y, f_x = frequencies(shape)
    image = axis.imshow(
        values,
        extent=(f_x[0] - 0.5, f_x[-1] + 0.5, f_y[-1] + 0.5, f_y[0] - 0.5),
        interpolation="nearest",
        aspect="equal" if shape[0] == shape[1] else "auto",
        cmap="PuOr_r",
        vmin=-largest,
        vmax=largest,
    )
    axis.set_xlabel("horizontal frequency (cycles per image)")
    axis.set_ylabel("vertical frequency (cycles per image)")
    figure = axis.get_figure()
    if figure is not None:
        figure.colorbar(image, ax=axis, shrink=0.95).set_label("mask of the first less that of the second")
    draw_rings(axis, shape)


def _shares(axis: "Axes", result: "MaskDifference") -> None:
    """Images with more energy in the one mask and in the other; what is missing to 1 is the same in both."""
    for which, label, colour, marker in (
        ("more", "more in the first", _GREEN, "s"),
        ("less", "more in the second", _RED, "v"),
    ):
        share, interval = (
            np.asarray(getattr(result, f"radial_{which}_share{ending}")) for ending in ("", "_interval")
        )
        held = ~np.isnan(share)
        axis.errorbar(
            result.radial_centres[held],
            share[held],
            yerr=np.abs(interval[held].T - share[held]),
            color=colour,
            marker=marker,
            markersize=3.5,
            linewidth=1.2,
            capsize=2,
            label=label,
        )
    axis.axhline(0.5, color="black", linewidth=0.8)
    axis.set_ylim(-0.03, 1.03)
    axis.set_xlabel(_LABELS["radial"])
    axis.set_ylabel("share of images")
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small", loc="upper right")
