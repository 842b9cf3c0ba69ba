"""Figure of the statistics of convolution filters."""

from typing import TYPE_CHECKING, Any

from specprobe.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from specprobe.analysis.filters import FilterStatistics

__all__ = ["draw_filters", "draw_metrics"]

_PANELS = (
    ("sparsity", "sparsity"),
    ("variance_entropy_ratio", "entropy ÷ random filters'"),
    ("orthogonality", "orthogonality"),
    ("centre_energy", "centre energy"),
)
# Okabe and Ito's palette: told apart by readers of any colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "osD^vP"


def draw_filters(result: "FilterStatistics", /, *, title: str = "") -> "Figure":
    """Every metric by layer, a marker a kernel size.

    Parameters
    ----------
    result : FilterStatistics
        Of one model.
    title : str
        Above the figure, without mathematical markup.

    Returns
    -------
    matplotlib.figure.Figure
        Belongs to no window.

    Raises
    ------
    DataError
        If the model has no convolutions with constant kernels.
    """
    from matplotlib.figure import Figure

    if not result.layers:
        msg = "the model has no convolutions with constant kernels, so there is nothing to draw"
        raise DataError(msg)
    figure = Figure(figsize=(8, 6), layout="constrained")
    draw_metrics(figure.subplots(2, 2, sharex=True).ravel(), result)
    figure.suptitle(title or "Convolution filters", parse_math=False)
    return figure


def draw_metrics(axes: "Sequence[Axes]", result: "FilterStatistics", /) -> None:
    """Sparsity, entropy, orthogonality and centre energy by layer.

    Parameters
    ----------
    axes : sequence of matplotlib.axes.Axes
        Four, the last two of them below the others.
    result : FilterStatistics
        With layers.
    """
    from matplotlib.ticker import MaxNLocator

    for axis, (name, label) in zip(axes, _PANELS, strict=True):
        _metric(axis, result, name)
        axis.set_ylabel(label)
    for axis in axes[2:]:
        axis.set_xlabel("convolution, in the order of the graph")
        axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes[0].legend(title="kernel", fontsize="small", loc="best")


def _metric(axis: "Axes", result: "FilterStatistics", name: str) -> None:
    kernels = sorted({layer.kernel for layer in result.layers})
    for i, kernel in enumerate(kernels):
        points = [
            (position, value)
            for position, layer in enumerate(result.layers, 1)
            if layer.kernel == kernel and (value := getattr(layer, name)) is not None
        ]
        label = "×".join(map(str, kernel))
        x, y = zip(*points, strict=True) if points else ((), ())
        style: dict[str, Any] = {"color": _COLOURS[i % 6], "marker": _MARKERS[i % 6]}
        axis.plot(x, y, linestyle="-" if len(kernels) == 1 else ":", markersize=4, label=label, **style)
    overall = getattr(result.overall, name)
    if overall is not None:
        axis.axhline(overall, color="grey", linewidth=0.8)
        axis.annotate(
            f"all {overall:.3f}",
            (1, overall),
            xycoords=("axes fraction", "data"),
            fontsize=7,
            ha="right",
            va="bottom",
        )
    axis.set_ylim(-0.02, max(1.02, *axis.get_ylim()))
    axis.grid(alpha=0.3)
