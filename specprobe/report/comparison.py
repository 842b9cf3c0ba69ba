"""Figure of a comparison: every model in every panel, on one scale."""

from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.errors import DataError
from specprobe.report.sensitivity import draw_rings
from specprobe.spectral.grid import frequencies, radius, ring_bands

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from specprobe.analysis.comparison_result import Comparison

__all__ = ["draw_comparison"]

# Okabe and Ito's palette: told apart by readers of any colour vision; marker and line tell the models apart in grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "osD^vP"
_LINES = ("-", "--", "-.", ":")
_FLOOR = 1e-4
"""Of the largest cell of all maps; what is darker is drawn as dark."""
_WIDTH = 13.0
_MAPS_A_ROW = 6
_NAMES_A_ROW = 4
_LONGEST_NAME = 40
_FILTERS = (
    ("sparsity", "sparsity"),
    ("variance_entropy_ratio", "entropy ÷ random filters'"),
    ("orthogonality", "orthogonality"),
    ("centre_energy", "centre energy"),
)


def draw_comparison(result: "Comparison", /, *, title: str = "") -> "Figure":
    """Profiles, curves and filter metrics of all models overlaid; their maps side by side with one colour scale.

    Parameters
    ----------
    result : Comparison
        Read from JSON, it has no maps.
    title : str
        Above the figure, without mathematical markup.

    Returns
    -------
    matplotlib.figure.Figure
        Belongs to no window.

    Raises
    ------
    DataError
        If no model has anything that is drawn.
    """
    from matplotlib.figure import Figure

    sensitivities = [getattr(part, "sensitivity", None) for part in result.results]
    bands = [getattr(part, "bands", None) for part in result.results]
    filters = [getattr(part, "filters", None) for part in result.results]
    swept = any(part is not None and part.radii for part in bands)
    panels = ["profile"] * any(part is not None for part in sensitivities) + ["low_pass", "high_pass"] * swept
    mapped = result.power_map is not None and any(part is not None for part in sensitivities)
    drawn = any(part is not None and part.layers for part in filters)
    map_rows = -(-len(result.models) // _MAPS_A_ROW) if mapped else 0
    heights = [4.1] * bool(panels) + [2.9] * map_rows + [3.0] * drawn
    if not heights:
        msg = "the models have no convolutions with constant kernels and were run on no data: there is nothing to draw"
        raise DataError(msg)
    head = 0.4 + 0.25 * -(-len(result.models) // _NAMES_A_ROW)
    figure = Figure(figsize=(_WIDTH, head + sum(heights)))
    rows = _Rows(figure, head)
    if panels:
        axes = dict(zip(panels, rows.add(heights.pop(0), [1.0] * len(panels)), strict=True))
        if "profile" in axes:
            _profiles(axes["profile"], sensitivities)
        if swept:
            _curves(axes["low_pass"], bands, "low_pass", "low-pass cut-off (cycles per image)")
            _curves(axes["high_pass"], bands, "high_pass", "high-pass cut-off (cycles per image)")
    if mapped:
        columns = min(len(result.models), _MAPS_A_ROW)
        grid = [rows.add(heights.pop(0), [*[1.0] * columns, 0.06], gap=0.15) for _ in range(map_rows)]
        _maps(figure, [row[:-1] for row in grid], [row[-1] for row in grid], result, sensitivities)
    if drawn:
        _filters(rows.add(heights.pop(0), [1.0] * len(_FILTERS)), filters)
    _legend(figure, result.models)
    told = "" if result.images is None else f"{result.images} images, {100 * result.confidence:g} % intervals"
    words = ": ".join(part for part in (title, told) if part) or "Comparison"
    figure.suptitle(words, parse_math=False, y=1 - 0.08 / figure.get_figheight(), va="top", fontsize="medium")
    return figure


class _Rows:
    """Rows of axes from the top down, in inches: a solver of layouts does not give the same bits every time."""

    def __init__(self, figure: "Figure", head: float) -> None:
        self._figure = figure
        self._top = figure.get_figheight() - head

    def add(self, height: float, widths: "Sequence[float]", *, gap: float = 0.3) -> "list[Axes]":
        """Axes beside each other, with room for their labels."""
        whole = self._figure.get_figheight()
        bottom = self._top - height
        grid = self._figure.add_gridspec(
            1,
            len(widths),
            width_ratios=widths,
            left=0.75 / _WIDTH,
            right=1 - 0.25 / _WIDTH if gap > 0.2 else 1 - 0.9 / _WIDTH,
            bottom=(bottom + 0.6) / whole,
            top=(self._top - 0.25) / whole,
            wspace=gap,
        )
        self._top = bottom
        return [self._figure.add_subplot(grid[0, i]) for i in range(len(widths))]


def _style(place: int) -> dict[str, Any]:
    return {
        "color": _COLOURS[place % len(_COLOURS)],
        "marker": _MARKERS[place % len(_MARKERS)],
        "linestyle": _LINES[place // len(_COLOURS) % len(_LINES)],
        "linewidth": 1.4,
        "markersize": 4,
    }


def _legend(figure: "Figure", names: "Sequence[str]") -> None:
    """One for all panels, above them."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **_style(i)) for i in range(len(names))]
    # Names out of a file are put in afterwards: a leading underscore would hide them, a dollar sign start mathematics.
    legend = figure.legend(
        handles,
        [f"model {i}" for i in range(len(names))],
        loc="upper center",
        bbox_to_anchor=(0.5, 1 - 0.27 / figure.get_figheight()),
        ncols=min(_NAMES_A_ROW, len(names)),
        frameon=False,
        borderaxespad=0,
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(_short(name, _LONGEST_NAME))


def _short(name: str, longest: int) -> str:
    """The end of a name, which tells models apart."""
    return name if len(name) <= longest else f"…{name[1 - longest :]}"


def _profiles(axis: "Axes", results: "Sequence[Any]") -> None:
    """Ring sums with their intervals, and those of white noise."""
    told = next(result for result in results if result is not None)
    held = told.white_noise_share > 0
    rings = told.cycles_per_image[held]
    for i, result in enumerate(results):
        if result is None:
            continue
        style = _style(i) | ({} if len(rings) <= 40 else {"marker": None})
        low, high = result.power_share_interval[held].T
        axis.fill_between(rings, low, high, color=style["color"], alpha=0.2, linewidth=0)
        axis.plot(rings, result.power_share[held], **style)
    axis.plot(
        rings,
        told.white_noise_share[held],
        color="black",
        linestyle=(0, (1, 1)),
        linewidth=1.2,
        label="white noise",
    )
    _, mid, far = ring_bands(told.map_shape)
    for edge in (mid.start - 0.5, far.start - 0.5):
        axis.axvline(edge, color="grey", linewidth=0.8, linestyle=":")
    axis.set_xlim(0, len(told.power_share) + 1.0)
    axis.set_ylim(0, None)
    axis.set_xlabel("spatial frequency (cycles per image)")
    axis.set_ylabel("sensitivity: share of power (ring sums)")
    axis.legend(fontsize="small")
    axis.grid(alpha=0.3)


def _curves(axis: "Axes", results: "Sequence[Any]", section: str, label: str) -> None:
    """Accuracy over the cut-off, or agreement where a model has no accuracy."""
    contents = [None if result is None else result.to_dict() for result in results]
    held = [content for content in contents if content is not None]
    key = "accuracy" if all(content["clean_accuracy"] is not None for content in held) else "agreement"
    last = 1.0
    for i, (result, content) in enumerate(zip(results, contents, strict=True)):
        if content is None or not content[section]:
            continue
        low, high = np.array([entry[f"{key}_interval"] for entry in content[section]]).T
        style = _style(i)
        axis.fill_between(result.radii, low, high, color=style["color"], alpha=0.2, linewidth=0)
        axis.plot(result.radii, [entry[key] for entry in content[section]], **style)
        last = max(last, float(radius(result.image_size).max()), *result.radii)
    if key == "accuracy":
        axis.axhline(held[0]["chance"], color="black", linestyle=(0, (1, 1)), linewidth=1.2, label="chance")
        axis.legend(fontsize="small", loc="lower right" if section == "low_pass" else "upper right")
    axis.set_xlim(0, 1.04 * last)
    axis.set_ylim(0, 1.03)
    axis.set_xlabel(label)
    axis.set_ylabel(key if key == "accuracy" else "agreement with the clean prediction")
    axis.grid(alpha=0.3)


def _maps(
    figure: "Figure",
    grid: "Sequence[Sequence[Axes]]",
    bars: "Sequence[Axes]",
    result: "Comparison",
    sensitivities: "Sequence[Any]",
) -> None:
    """Maps of the sensitivity, with one colour scale."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import MaxNLocator

    power = np.asarray(result.power_map)
    basis = next(part.basis for part in sensitivities if part is not None)
    norm = LogNorm(_FLOOR * float(np.nanmax(power)), float(np.nanmax(power)))
    height, width = power.shape[1:]
    fourier = basis == "fourier"
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    if fourier:
        f_y, f_x = frequencies((height, width))
        extent = (f_x[0] - 0.5, f_x[-1] + 0.5, f_y[-1] + 0.5, f_y[0] - 0.5)
    places = [(axis, column) for row in grid for column, axis in enumerate(row)]
    for i, (axis, column) in enumerate(places):
        if i >= len(power):
            axis.set_axis_off()
            continue
        axis.set_title(
            _short(result.models[i], 120 // len(grid[0])), fontsize="small", parse_math=False, pad=3
        )
        axis.set_xlabel("horizontal frequency\n(cycles per image)" if fourier else f"horizontal {basis}")
        if column == 0:
            axis.set_ylabel("vertical frequency\n(cycles per image)" if fourier else f"vertical {basis}")
        else:
            axis.tick_params(labelleft=False)
        if np.isnan(power[i]).all():
            axis.text(0.5, 0.5, "no gradient", transform=axis.transAxes, ha="center", va="center")
            axis.set(xlim=extent[:2], ylim=extent[2:], box_aspect=1)
            continue
        axis.imshow(
            np.clip(power[i], norm.vmin, None),
            cmap="magma",
            norm=norm,
            extent=extent,
            interpolation="nearest",
            aspect="equal" if height == width else "auto",
        )
        for ticks in (axis.xaxis, axis.yaxis):
            ticks.set_major_locator(MaxNLocator(5, integer=True))
        if fourier:
            draw_rings(axis, (height, width))
    for bar in bars:
        figure.colorbar(ScalarMappable(norm, "magma"), cax=bar).set_label("sensitivity:\nshare of power")


def _filters(axes: "Sequence[Axes]", results: "Sequence[Any]") -> None:
    """Metrics of the filters by depth; a line through the means of each depth."""
    from matplotlib.ticker import MaxNLocator

    for axis, (name, label) in zip(axes, _FILTERS, strict=True):
        for i, result in enumerate(results):
            points: dict[int, list[float]] = {}
            for layer in () if result is None else result.layers:
                value = getattr(layer, name)
                if value is not None:
                    points.setdefault(layer.depth, []).append(value)
            style = _style(i)
            single = style | {"linestyle": "none", "markersize": 2.5}
            for depth, values in points.items():
                if len(values) > 1:
                    axis.plot([depth] * len(values), values, alpha=0.5, **single)
            depths = sorted(points)
            axis.plot(depths, [float(np.mean(points[depth])) for depth in depths], **style)
        axis.set_ylim(-0.02, max(1.02, *axis.get_ylim()))
        axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axis.set_xlabel("depth (convolutions before it)")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
