"""Figure of a sensitivity: the profile, and the map that it sums up."""

from typing import TYPE_CHECKING

import numpy as np

from specprobe.spectral.grid import frequencies, ring_bands

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from specprobe.analysis.sensitivity_result import FourierSensitivity

__all__ = ["draw_profile", "draw_rings", "draw_sensitivity"]

_CLASSES = {"true": "labelled", "predicted": "predicted"}
_BLUE, _RED = "#0072B2", "#D55E00"
_FLOOR = 1e-4
"""Of the largest cell of a map; what is darker is drawn as dark."""


def draw_sensitivity(result: "FourierSensitivity", /, *, title: str = "") -> "Figure":
    """Profile with its interval and the white-noise reference, and the map where there is one.

    Parameters
    ----------
    result : FourierSensitivity
        Read from JSON, it has no map.
    title : str
        Above the figure, without mathematical markup.

    Returns
    -------
    matplotlib.figure.Figure
        Belongs to no window.
    """
    from matplotlib.figure import Figure

    mapped = result.power_map is not None
    figure = Figure(figsize=(10.5, 4.4) if mapped else (6.4, 4.4), layout="constrained")
    axes = figure.subplots(1, 1 + mapped, squeeze=False, width_ratios=[1.25, 1][: 1 + mapped])[0]
    draw_profile(axes[0], result)
    if mapped:
        _map(axes[1], result)
    name = f"{title}: " if title else ""
    what = f"input gradient of {result.loss} at the {_CLASSES.get(result.target, result.target)} class"
    figure.suptitle(f"{name}{what}, {result.averaged} images", parse_math=False, fontsize="medium")
    return figure


def draw_profile(axis: "Axes", result: "FourierSensitivity", /) -> None:
    """Ring sums with their interval, beside those of white noise.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Drawn into.
    result : FourierSensitivity
        With or without a map.
    """
    held = result.white_noise_share > 0  # Haar's basis has rings without coefficients
    rings, share = result.cycles_per_image[held], result.power_share[held]
    low, high = result.power_share_interval[held].T
    marker = "o" if len(rings) <= 40 else None
    axis.axhline(0, color="black", linewidth=0.6)
    axis.fill_between(
        rings, low, high, color=_BLUE, alpha=0.3, linewidth=0, label=f"{100 * result.confidence:g} % interval"
    )
    axis.plot(rings, share, color=_BLUE, marker=marker, markersize=3, linewidth=1.4, label="mean over images")
    axis.plot(
        rings, result.white_noise_share[held], color=_RED, linestyle="--", linewidth=1.2, label="white noise"
    )
    top = 1.15 * max(axis.get_ylim()[1], 1e-9)
    axis.set_ylim(0, top)
    last = len(result.power_share) + 1.0
    axis.set_xlim(0, last)
    _, mid, far = ring_bands(result.map_shape)
    edges = (0.0, mid.start - 0.5, far.start - 0.5, last)
    means = (result.low_share, result.mid_share, result.high_share)
    for i, (name, mean) in enumerate(zip(("low", "mid", "high"), means, strict=True)):
        if i:
            axis.axvline(edges[i], color="grey", linewidth=0.8, linestyle=":")
        middle = (edges[i] + edges[i + 1]) / 2
        axis.text(middle, 0.985 * top, f"{name}\n{mean:.3f}", ha="center", va="top", fontsize="small")
    axis.set_xlabel("spatial frequency (cycles per image)")
    axis.set_ylabel("share of power (ring sums)")
    axis.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)
    axis.grid(alpha=0.3)


def _map(axis: "Axes", result: "FourierSensitivity") -> None:
    from matplotlib.colors import LogNorm

    power = np.asarray(result.power_map)
    largest = float(np.nanmax(power))
    shown = np.clip(power, _FLOOR * largest, None)
    fourier = result.basis == "fourier"
    if fourier:
        f_y, f_x = frequencies((power.shape[0], power.shape[1]))
        extent = (f_x[0] - 0.5, f_x[-1] + 0.5, f_y[-1] + 0.5, f_y[0] - 0.5)
        axis.set_xlabel("horizontal frequency (cycles per image)")
        axis.set_ylabel("vertical frequency (cycles per image)")
    else:
        extent = (-0.5, power.shape[1] - 0.5, power.shape[0] - 0.5, -0.5)
        axis.set_xlabel(f"horizontal {result.basis} coefficient")
        axis.set_ylabel(f"vertical {result.basis} coefficient")
    image = axis.imshow(
        shown,
        cmap="magma",
        norm=LogNorm(_FLOOR * largest, largest),
        extent=extent,
        interpolation="nearest",
        aspect="equal" if power.shape[0] == power.shape[1] else "auto",
    )
    figure = axis.get_figure()
    if figure is not None:
        bar = figure.colorbar(image, ax=axis, shrink=0.95)
        bar.set_label(f"share of power\n(darkest: at most {_FLOOR:g} of the largest)")
    if fourier:
        draw_rings(axis, result.map_shape)


def draw_rings(axis: "Axes", shape: tuple[int, int], /) -> None:
    """Circles where the bands meet, labelled with their radius.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        In cycles per image, of each side its own; so circles are ellipses on images that are no squares.
    shape : (int, int)
        Height and width of the images.
    """
    from matplotlib.patheffects import withStroke

    edge = [withStroke(linewidth=2, foreground="black")]
    _, mid, far = ring_bands(shape)
    turn = np.linspace(0, 2 * np.pi, 361)
    stretch_y, stretch_x = shape[0] / min(shape), shape[1] / min(shape)
    for radius in (mid.start - 0.5, far.start - 0.5):
        x, y = radius * stretch_x * np.cos(turn), radius * stretch_y * np.sin(turn)
        axis.plot(x, y, color="white", linewidth=0.9, linestyle="--", path_effects=edge)
        axis.annotate(
            f"{radius:g}",
            (0, -radius * stretch_y),
            xytext=(0, 1.5),
            textcoords="offset points",
            color="white",
            fontsize="small",
            ha="center",
            va="bottom",
            path_effects=edge,
        )
