"""Figure of an inspection: whatever of it has a shape."""

from typing import TYPE_CHECKING

from specprobe.errors import DataError
from specprobe.report.bands import draw_curves
from specprobe.report.filters import draw_metrics
from specprobe.report.sensitivity import draw_profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from specprobe.analysis.inspection import Inspection

__all__ = ["draw_inspection"]


def draw_inspection(result: "Inspection", /, *, title: str = "") -> "Figure":
    """Filters by layer; with data, below them the profile of the sensitivity and the curves over the cut-off.

    Parameters
    ----------
    result : Inspection
        With or without data.
    title : str
        Above the figure, without mathematical markup.

    Returns
    -------
    matplotlib.figure.Figure
        Belongs to no window.

    Raises
    ------
    DataError
        If the model has no convolutions with constant kernels, and nothing was measured.
    """
    from matplotlib.figure import Figure

    measured = [part for part in (result.sensitivity, result.bands) if part is not None]
    rows = [6.0] * bool(result.filters.layers) + [4.4] * bool(measured)
    if not rows:
        msg = "the model has no convolutions with constant kernels and was run on no data: there is nothing to draw"
        raise DataError(msg)
    figure = Figure(figsize=(10.5 if len(measured) == 2 else 8, sum(rows)), layout="constrained")
    blocks = list(figure.subfigures(len(rows), 1, squeeze=False, height_ratios=rows)[:, 0])
    if result.filters.layers:
        block = blocks.pop(0)
        draw_metrics(block.subplots(2, 2, sharex=True).ravel(), result.filters)
        block.suptitle("Convolution filters", fontsize="medium")
    if measured:
        axes = iter(blocks[0].subplots(1, len(measured), squeeze=False)[0])
        if result.sensitivity is not None:
            draw_profile(next(axes), result.sensitivity)
        if result.bands is not None:
            draw_curves(next(axes), result.bands, "accuracy" if result.accuracy is not None else "agreement")
        blocks[0].suptitle(
            f"Input gradient, and filtered images; {measured[0].images} images", fontsize="medium"
        )
    figure.suptitle(title or "Inspection", parse_math=False)
    return figure
