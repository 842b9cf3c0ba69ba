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
from specprobe.report.filters import draw_filters
from specprobe.report.heatmap import draw_heatmap
from specprobe.report.inspection import draw_inspection
from specprobe.report.sensitivity import draw_sensitivity

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

__all__ = ["draw", "save"]


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
    return draw_filters(result, title=title)


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
    """The filters; with data, also the profile of the sensitivity and the curves over the cut-off."""
    return draw_inspection(result, title=title)


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
