"""Figure of a heat map: errors and loss by frequency, and the first-order maps where there are any."""

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


def draw_heatmap(result: "FourierHeatmap", /, *, title: str = "") -> "Figure":
    """Error rate and loss increase side by side; below them the first-order maps.

    Parameters
    ----------
    result : FourierHeatmap
        With or without per-image arrays.
    title : str
        Above the figure, without mathematical markup.

    Returns
    -------
    matplotlib.figure.Figure
        Belongs to no window.
    """
    from matplotlib.figure import Figure

    rows = 1 if result.flip_probability is None else 2
    figure = Figure(figsize=(10.5, 4.6 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False)
    unit: dict[str, Any] = {"cmap": "viridis", "vmin": 0, "vmax": 1}
    _map(axes[0, 0], result, result.error_rate, f"error rate (clean {result.clean_error_rate:.3f})", **unit)
    loss = "mean increase of the cross-entropy (nats)"
    least = min(0.0, float(np.nanmin(result.loss_increase)))
    _map(axes[0, 1], result, result.loss_increase, loss, cmap="magma", vmin=least)
    if result.flip_probability is not None and result.derivative_rms is not None:
        flips = f"first order: share of flips\n{_ranked(result.rank_correlation)}"
        _map(axes[1, 0], result, result.flip_probability, flips, **unit)
        slope = (
            "first order: rms derivative of the margin\n"
            f"(logits per unit of norm; {_ranked(result.derivative_rms_rank_correlation)})"
        )
        _map(axes[1, 1], result, result.derivative_rms, slope, cmap="magma", vmin=0)
    if not result.evaluated.all():
        _explain(figure)
    name = f"{title}: " if title else ""
    phase = f"phase {result.basis_phase}" + ("°" if result.basis_phase in {"0", "45"} else "")
    clipped = "clipped" if result.clip else "not clipped"
    figure.suptitle(
        f"{name}one frequency added, L2 norm {result.l2_norm_per_channel:g} a channel, {phase}, {clipped}, "
        f"{result.images} images",
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


def _explain(figure: "Figure") -> None:
    from matplotlib.patches import Patch

    patch = Patch(facecolor=_ABSENT, edgecolor="black", linewidth=0.5, label="not evaluated")
    figure.legend(handles=[patch], loc="outside lower center", fontsize="small", frameon=False)


def _ranked(correlation: float | None) -> str:
    known = correlation is not None and np.isfinite(correlation)
    return f"rank correlation {correlation:.2f}" if known else "rank correlation not known"
