"""One figure a result type, with labelled axes, fit for print and for colour-blind readers."""

from functools import singledispatch
from typing import IO, TYPE_CHECKING, Any

from specprobe.analysis.band_result import BandAccuracy
from specprobe.analysis.filters import FilterStatistics
from specprobe.analysis.heatmap_result import FourierHeatmap
from specprobe.analysis.inspection import Inspection
from specprobe.analysis.sensitivity_result import FourierSensitivity
from specprobe.errors import DataError
from specprobe.report.bands import draw_bands
from specprobe.report.heatmap import draw_heatmap
from specprobe.report.sensitivity import draw_sensitivity

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw", "save"]

_PANELS = (
    ("sparsity", "sparsity"),
    ("variance_entropy_ratio", "entropy ÷ random filters'"),
    ("orthogonality", "orthogonality"),
    ("centre_energy", "centre energy"),
)
# Okabe and Ito's palette: told apart by readers of any colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "osD^vP"


@singledispatch
def draw(result: object, /, *, title: str = "") -> "Figure":
    """Figure of a result.

    Parameters
    ----------
    result : Result
        Of a type that has a figure.
    title : str
        Above it; put in as it is, without mathematical markup.

    Returns
    -------
    matplotlib.figure.Figure
        Belongs to no window.

    Raises
    ------
    DataError
        If there is nothing to draw.
    """
    msg = f"there is no figure for {type(result).__name__}, title '{title}'"
    raise DataError(msg)


@draw.register(FilterStatistics)
def _filters(result: FilterStatistics, /, *, title: str = "") -> "Figure":
    """Every metric by layer, a marker a kernel size."""
    from matplotlib.figure import Figure

    if not result.layers:
        msg = "the model has no convolutions with constant kernels, so there is nothing to draw"
        raise DataError(msg)
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True).ravel()
    for axis, (name, label) in zip(axes, _PANELS, strict=True):
        _metric(axis, result, name)
        axis.set_ylabel(label)
    for axis in axes[2:]:
        axis.set_xlabel("convolution, in the order of the graph")
    axes[0].legend(title="kernel", fontsize="small", loc="best")
    figure.suptitle(title or "Convolution filters", parse_math=False)
    return figure


@draw.register(FourierSensitivity)
def _sensitivity(result: FourierSensitivity, /, *, title: str = "") -> "Figure":
    """Profile and map."""
    return draw_sensitivity(result, title=title)


@draw.register(BandAccuracy)
def _bands(result: BandAccuracy, /, *, title: str = "") -> "Figure":
    """Curves over the cut-off, and bands and wedges."""
    return draw_bands(result, title=title)


@draw.register(FourierHeatmap)
def _heatmap(result: FourierHeatmap, /, *, title: str = "") -> "Figure":
    """Maps of error and loss, and the first-order maps."""
    return draw_heatmap(result, title=title)


@draw.register(Inspection)
def _inspection(result: Inspection, /, *, title: str = "") -> "Figure":
    """The filters: the only part of an inspection that has a shape."""
    return draw(result.filters, title=title)


def _metric(axis: "Axes", result: FilterStatistics, name: str) -> None:
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


def save(figure: "Figure", file: "Path | IO[bytes]", /, *, suffix: str, dpi: int = 150) -> None:
    """Write a figure; equal results give equal bytes.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        From :func:`draw`.
    file : pathlib.Path or binary file
        Where to.
    suffix : {".png", ".svg"}
        Format.
    dpi : int
        Dots per inch of a ``.png``.
    """
    from matplotlib import rc_context

    metadata: dict[str, Any] = {"Date": None} if suffix == ".svg" else {"Software": None}
    with rc_context({"svg.hashsalt": "specprobe"}):
        figure.savefig(file, format=suffix[1:], dpi=dpi, metadata=metadata)
