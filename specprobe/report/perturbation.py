"""Figure of a perturbation's spectrum: the measures of change as maps and by ring, and where its power lies."""

from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.report.sensitivity import draw_rings
from specprobe.spectral.grid import frequencies, ring_bands

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from specprobe.analysis.perturbation_result import PerturbationSpectrum

__all__ = ["draw_cumulative", "draw_perturbation", "draw_ring_means", "draw_ring_sums"]

# Okabe and Ito's palette: told apart by readers of any colour vision.
_BLUE, _RED, _GREEN = "#0072B2", "#D55E00", "#009E73"
_FLOOR = 1e-3
"""Of the largest cell of a map; what is darker is drawn as dark."""
_NAMES = {
    "absolute": ("D1 absolute", "|F(δ)|"),
    "magnitude_change": ("D2 magnitude change", "||F(x + δ)| − |F(x)||"),
    "relative": ("D3 relative", "|F(δ)| / (|F(x)| + τ)"),
    "log_ratio": ("D4 log ratio", "log(1 + |F(x + δ)|) − log(1 + |F(x)|)"),
}
_CYCLES = "spatial frequency (cycles per image)"
_ABOVE: dict[str, Any] = {
    "fontsize": "small",
    "loc": "lower center",
    "bbox_to_anchor": (0.5, 1),
    "ncols": 4,
    "frameon": False,
}


def draw_perturbation(result: "PerturbationSpectrum", /, *, title: str = "") -> "Figure":
    """Maps and ring means of each measure of change, ring sums and cumulative power of the perturbation.

    Parameters
    ----------
    result : PerturbationSpectrum
        Read from JSON, it has no maps.
    title : str
        Above the figure, without mathematical markup.

    Returns
    -------
    matplotlib.figure.Figure
        Belongs to no window.
    """
    from matplotlib.figure import Figure

    maps = _maps(result)
    rows = [kind for kind in ("maps", "means", "power") if kind != "maps" or maps]
    wide = len(result.measures) > 1
    figure = Figure(figsize=(17 if wide else 11, 4.1 * len(rows)), layout="constrained")
    parts = np.ravel(figure.subfigures(len(rows), 1, squeeze=False))
    for part, kind in zip(parts, rows, strict=True):
        if kind == "maps":
            axes = np.ravel(part.subplots(1, len(maps), squeeze=False))
            for axis, (label, values, signed) in zip(axes, maps, strict=True):
                _map(axis, result.map_shape, values, label, signed=signed)
        elif kind == "means":
            axes = np.ravel(part.subplots(1, max(len(result.measures), 2), squeeze=False))
            for axis, name in zip(axes, result.measures, strict=False):
                draw_ring_means(axis, result, name)
            if not wide:
                _angles(axes[1], result)
        else:
            left, right = part.subplots(1, 2, width_ratios=[1.4, 1])
            draw_ring_sums(left, result)
            draw_cumulative(right, result)
    name = f"{title}: " if title else ""
    figure.suptitle(
        f"{name}{result.of}, {result.averaged} images, {100 * result.confidence:g} % intervals",
        parse_math=False,
        fontsize="medium",
    )
    return figure


def draw_ring_sums(axis: "Axes", result: "PerturbationSpectrum", /) -> None:
    """Power of whole rings with its interval, beside that of white noise and of the images themselves.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Drawn into.
    result : PerturbationSpectrum
        With or without maps.
    """
    rings = result.cycles_per_image
    axis.axhline(0, color="black", linewidth=0.6)
    low, high = result.ring_sum_share_interval.T
    axis.fill_between(rings, low, high, color=_BLUE, alpha=0.3, linewidth=0)
    axis.plot(rings, result.ring_sum_share, color=_BLUE, label=result.of, **_style(rings))
    axis.plot(rings, result.white_noise_share, color=_RED, linestyle="--", linewidth=1.2, label="white noise")
    if result.clean_ring_sum_share is not None and result.clean_ring_sum_share_interval is not None:
        low, high = result.clean_ring_sum_share_interval.T
        axis.fill_between(rings, low, high, color=_GREEN, alpha=0.2, linewidth=0)
        axis.plot(
            rings,
            result.clean_ring_sum_share,
            color=_GREEN,
            linestyle="-.",
            linewidth=1.2,
            label="clean images",
        )
    # What is compared is the perturbation with white noise; natural images may leave the axis at ring 1.
    top = 1.3 * float(
        np.nanmax(
            [*result.ring_sum_share_interval.ravel(), *result.ring_sum_share, *result.white_noise_share]
        )
    )
    axis.set_ylim(0, top)
    _bands(axis, result, (result.low_share, result.mid_share, result.high_share))
    axis.set_xlabel(_CYCLES)
    axis.set_ylabel("share of power, sum over the ring")
    axis.legend(**_ABOVE)
    axis.grid(alpha=0.3)


def draw_cumulative(axis: "Axes", result: "PerturbationSpectrum", /) -> None:
    """Power up to each ring with its interval, and the frequency below which half of it lies.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Drawn into.
    result : PerturbationSpectrum
        With or without maps.
    """
    # The power of ring r is spread over [r - 0.5, r + 0.5), as for the half-power frequency.
    edges = np.concatenate([[0.5], result.cycles_per_image + 0.5])
    bounds = np.concatenate([[[0.0, 0.0]], result.cumulative_share_interval])
    axis.fill_between(edges, *bounds.T, color=_BLUE, alpha=0.3, linewidth=0)
    axis.plot(edges, [0.0, *result.cumulative_share], color=_BLUE, linewidth=1.4, label=result.of)
    white = np.cumsum(result.white_noise_share)
    axis.plot(edges, [0.0, *white], color=_RED, linestyle="--", linewidth=1.2, label="white noise")
    if result.clean_ring_sum_share is not None:
        clean = np.cumsum(result.clean_ring_sum_share)
        axis.plot(edges, [0.0, *clean], color=_GREEN, linestyle="-.", linewidth=1.2, label="clean images")
    half = result.half_power_cycles_per_image
    if np.isfinite(half):
        low, high = result.half_power_cycles_per_image_interval
        axis.axvspan(low, high, color="black", alpha=0.15, linewidth=0)
        axis.plot([half, half], [0, 0.5], color="black", linewidth=1)
        axis.plot(
            [half],
            [0.5],
            color="black",
            marker="o",
            markersize=4,
            linestyle="none",
            label=f"half power: {half:.1f}",
        )
    axis.set_xlim(0, edges[-1])
    axis.set_ylim(0, 1.02)
    axis.set_xlabel(_CYCLES)
    axis.set_ylabel("share of power up to the ring")
    axis.legend(**_ABOVE)
    axis.grid(alpha=0.3)


def draw_ring_means(axis: "Axes", result: "PerturbationSpectrum", name: str, /) -> None:
    """Mean of a ring's cells of one measure, with its interval.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Drawn into.
    result : PerturbationSpectrum
        That has the measure.
    name : str
        Which measure.
    """
    measure, rings = result.measure(name), result.cycles_per_image
    low, high = measure.ring_mean_interval.T
    axis.axhline(0, color="black", linewidth=0.6)
    axis.fill_between(rings, low, high, color=_BLUE, alpha=0.3, linewidth=0)
    axis.plot(rings, measure.ring_mean, color=_BLUE, **_style(rings))
    bottom, top = axis.get_ylim()
    axis.set_ylim(bottom if name == "log_ratio" else 0, top + 0.2 * (top - bottom))
    _bands(axis, result, tuple(measure.band_mean))
    title, formula = _named(result, name)
    axis.set_title(title, fontsize="medium")
    axis.set_xlabel(_CYCLES)
    axis.set_ylabel(f"{formula}, mean of the ring's cells", fontsize="small")
    axis.grid(alpha=0.3)


def _named(result: "PerturbationSpectrum", name: str) -> tuple[str, str]:
    """Name and formula of a measure; δ is a perturbation only."""
    title, formula = _NAMES[name]
    return title, formula if result.of == "perturbation" else formula.replace("δ", result.of)


def _style(rings: "NDArray[Any]") -> dict[str, Any]:
    return {"marker": "o" if len(rings) <= 40 else None, "markersize": 3, "linewidth": 1.4}


def _bands(axis: "Axes", result: "PerturbationSpectrum", means: tuple[float, ...]) -> None:
    """The three bands' limits, names and values, on top of an axis over rings whose limits are set."""
    _, mid, far = ring_bands(result.map_shape)
    last = len(result.ring_sum_share) + 1.0
    axis.set_xlim(0, last)
    edges = (0.0, mid.start - 0.5, far.start - 0.5, last)
    for i, (name, mean) in enumerate(zip(("low", "mid", "high"), means, strict=True)):
        if i:
            axis.axvline(edges[i], color="grey", linewidth=0.8, linestyle=":")
        place = (edges[i] + edges[i + 1]) / (2 * last)
        axis.text(
            place,
            0.985,
            f"{name}\n{mean:.3g}",
            ha="center",
            va="top",
            fontsize="small",
            transform=axis.transAxes,
        )


def _angles(axis: "Axes", result: "PerturbationSpectrum") -> None:
    low, high = result.angular_share_interval.T
    degrees = result.angle_degrees
    axis.fill_between(degrees, low, high, color=_BLUE, alpha=0.3, linewidth=0)
    axis.plot(degrees, result.angular_share, color=_BLUE, marker="o", markersize=3, linewidth=1.4)
    axis.plot(
        degrees,
        result.white_noise_angular_share,
        color=_RED,
        linestyle="--",
        linewidth=1.2,
        label="white noise",
    )
    axis.set_ylim(0, None)
    axis.set_xlabel("direction (degrees)")
    axis.set_ylabel("share of power, sum over the wedge")
    axis.legend(fontsize="small", frameon=False)
    axis.grid(alpha=0.3)


def _maps(result: "PerturbationSpectrum") -> "list[tuple[str, NDArray[np.float64], bool]]":
    """Label and values of each map that there is, and whether it has a sign."""
    if result.measure_maps is None or result.power_map is None or not result.averaged:
        return []
    found = [
        ("\n".join(_named(result, name)), values, name == "log_ratio")
        for name, values in zip(result.measures, result.measure_maps, strict=True)
    ]
    return found if len(found) > 1 else [*found, ("share of power of a cell", result.power_map, False)]


def _map(
    axis: "Axes", shape: tuple[int, int], values: "NDArray[np.float64]", label: str, *, signed: bool
) -> None:
    from matplotlib.colors import LogNorm

    f_y, f_x = frequencies(shape)
    largest = float(np.max(np.abs(values)))
    drawn: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}
    if not signed:
        floor = max(_FLOOR * largest, float(np.min(values[values > 0], initial=largest)))
        drawn = {"cmap": "magma", "norm": LogNorm(floor, largest) if floor < largest else None}
        values = np.clip(values, floor, None)
    image = axis.imshow(
        values,
        extent=(f_x[0] - 0.5, f_x[-1] + 0.5, f_y[-1] + 0.5, f_y[0] - 0.5),
        interpolation="nearest",
        aspect="equal" if shape[0] == shape[1] else "auto",
        **drawn,
    )
    axis.set_xlabel("horizontal frequency (cycles per image)", fontsize="small")
    axis.set_ylabel("vertical frequency (cycles per image)", fontsize="small")
    figure = axis.get_figure()
    if figure is not None:
        figure.colorbar(image, ax=axis, shrink=0.7).set_label(label, fontsize="small")
    draw_rings(axis, shape)
