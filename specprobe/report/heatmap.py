"""Figure of a heat map: errors and loss by frequency, with the first-order maps and the tensors where there are any."""

from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.report.sensitivity import draw_rings
from specprobe.spectral.grid import frequencies

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from specprobe.analysis.heatmap_result import FourierHeatmap

__all__ = ["draw_heatmap"]

_ABSENT = "#C8C8C8"
"""Of cells that were not evaluated: a grey that neither colour map has."""


def draw_heatmap(
    result: "FourierHeatmap",
    /,
    *,
    title: str = "",
    interpolated: bool | None = None,
    largest_is_one: bool = False,
) -> "Figure":
    """Error rate and loss increase side by side; below them the first-order maps, and a row a tensor.

    Parameters
    ----------
    result : FourierHeatmap
        With or without per-image arrays.
    title : str
        Above the figure, without mathematical markup.
    interpolated : bool, optional
        Whether cells between evaluated ones are filled by linear interpolation, which the title says. Of refined maps
        they are, if not given. The result itself holds no such numbers.
    largest_is_one : bool
        Whether maps of tensors are divided by their maximum, so that they compare by shape.

    Returns
    -------
    matplotlib.figure.Figure
        Belongs to no window.
    """
    from matplotlib.figure import Figure

    fill = result.refine is not None if interpolated is None else interpolated
    fill = fill and not result.evaluated.all()
    error, loss = (_shown(values, fill=fill) for values in (result.error_rate, result.loss_increase))
    rows = 1 + (result.flip_probability is not None) + len(result.layers)
    figure = Figure(figsize=(10.5, 4.6 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False)
    unit: dict[str, Any] = {"cmap": "viridis", "vmin": 0, "vmax": 1}
    _map(axes[0, 0], result, error, f"error rate (clean {result.clean_error_rate:.3f})", **unit)
    least = min(0.0, float(np.nanmin(loss)))
    _map(axes[0, 1], result, loss, "mean increase of the cross-entropy (nats)", cmap="magma", vmin=least)
    if result.flip_probability is not None and result.derivative_rms is not None:
        flips = f"first order: share of flips\n{_ranked(result.rank_correlation)}"
        _map(axes[1, 0], result, result.flip_probability, flips, **unit)
        slope = (
            "first order: rms derivative of the margin\n"
            f"(logits per unit of norm; {_ranked(result.derivative_rms_rank_correlation)})"
        )
        _map(axes[1, 1], result, result.derivative_rms, slope, cmap="magma", vmin=0)
    if result.layer_change is not None and result.layer_relative_change is not None:
        pairs = zip(result.layer_change, result.layer_relative_change, strict=True)
        first = rows - len(result.layers)
        for row, name, both in zip(axes[first:], result.layers, pairs, strict=True):
            _layer(
                row, result, name, [_shown(part, fill=fill) for part in both], largest_is_one=largest_is_one
            )
    if np.isnan(error).any():
        _explain(figure)
    name = f"{title}: " if title else ""
    phase = f"phase {result.basis_phase}" + ("°" if result.basis_phase in {"0", "45"} else "")
    clipped = "clipped" if result.clip else "not clipped"
    figure.suptitle(
        f"{name}one frequency added, L2 norm {result.l2_norm_per_channel:g} a channel, {phase}, {clipped}, "
        f"{result.images} images{_told_of_filling(result) if fill else ''}",
        parse_math=False,
        fontsize="medium",
    )
    return figure


def _map(
    axis: "Axes", result: "FourierHeatmap", values: "NDArray[np.float64]", label: str, **style: Any
) -> None:
    f_y, f_x = frequencies(result.image_size)
    axis.set_facecolor(_ABSENT)  # shows through where a cell is NaN
    image = axis.imshow(
        np.ma.masked_invalid(values),
        extent=(f_x[0] - 0.5, f_x[-1] + 0.5, f_y[-1] + 0.5, f_y[0] - 0.5),
        interpolation="nearest",
        aspect="equal" if values.shape[0] == values.shape[1] else "auto",
        **style,
    )
    axis.set_xlabel("horizontal frequency (cycles per image)")
    axis.set_ylabel("vertical frequency (cycles per image)")
    figure = axis.get_figure()
    if figure is not None:
        figure.colorbar(image, ax=axis, shrink=0.95).set_label(label)
    draw_rings(axis, result.image_size)


def _layer(
    row: "NDArray[Any]",
    result: "FourierHeatmap",
    name: str,
    maps: "list[NDArray[np.float64]]",
    *,
    largest_is_one: bool,
) -> None:
    """Change and relative change of one tensor."""
    labels = ("mean L2 norm of the change", "mean of the change over the norm of the clean tensor")
    for axis, values, label in zip(row, maps, labels, strict=True):
        known = values[np.isfinite(values)]
        scale = float(known.max()) if largest_is_one and known.size and known.max() > 0 else 1.0
        scaled = f"{label},\nscaled to a maximum of 1" if largest_is_one else label
        _map(axis, result, values / scale, scaled, cmap="magma", vmin=0)
        axis.set_title(name, parse_math=False, fontsize="small")


def _shown(values: "NDArray[np.float64]", *, fill: bool) -> "NDArray[np.float64]":
    """``values``; filled, with numbers that were interpolated linearly between cells that hold one."""
    from scipy.interpolate import LinearNDInterpolator
    from scipy.spatial import QhullError

    known = np.isfinite(values)
    if not fill or known.all():
        return values
    try:
        between = LinearNDInterpolator(np.argwhere(known), values[known])
    except (QhullError, ValueError):  # too few cells, or all on one line
        return values
    return np.where(known, values, between(*np.indices(values.shape)))


def _told_of_filling(result: "FourierHeatmap") -> str:
    return (
        f"\ninterpolated between the {result.frequencies_evaluated} of {len(result.evaluated)} frequencies that were "
        "evaluated"
    )


def _explain(figure: "Figure") -> None:
    from matplotlib.patches import Patch

    patch = Patch(facecolor=_ABSENT, edgecolor="black", linewidth=0.5, label="not evaluated")
    figure.legend(handles=[patch], loc="outside lower center", fontsize="small", frameon=False)


def _ranked(correlation: float | None) -> str:
    known = correlation is not None and np.isfinite(correlation)
    return f"rank correlation {correlation:.2f}" if known else "rank correlation not known"
