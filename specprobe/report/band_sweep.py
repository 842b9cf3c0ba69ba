"""Figure of an adversarial band sweep: robust accuracy by band, with how many directions each band has."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from specprobe.attacks.band_sweep_result import AdversarialBandSweep

__all__ = ["draw_band_sweep", "draw_sweep"]

# Okabe and Ito's palette: told apart by readers of any colour vision.
_BLUE, _RED = "#0072B2", "#D55E00"


def draw_band_sweep(result: "AdversarialBandSweep", /, *, title: str = "") -> "Figure":
    """Robust accuracy of each band, beside the clean one and that without a band.

    Parameters
    ----------
    result : AdversarialBandSweep
        With or without per-image arrays.
    title : str
        Above the figure, without mathematical markup.

    Returns
    -------
    matplotlib.figure.Figure
        Belongs to no window.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    draw_sweep(figure.subplots(), result)
    name = f"{title}: " if title else ""
    figure.suptitle(
        f"{name}{result.attack} {result.threat_norm} {result.epsilon:.3g}, one band at a time, {result.images} images, "
        f"{100 * result.confidence:g} % intervals",
        parse_math=False,
        fontsize="medium",
    )
    return figure


def draw_sweep(axis: "Axes", result: "AdversarialBandSweep", /) -> None:
    """A bar a band, from its low to its high radius, with its interval and its number of coefficients.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Drawn into.
    result : AdversarialBandSweep
        With or without per-image arrays.
    """
    accuracy, bounds = result.robust_accuracy, result.robust_accuracy_interval
    for i, ((low, high), size) in enumerate(zip(result.bands, result.coefficients, strict=True)):
        axis.fill_between([low, high], *bounds[i], color=_BLUE, alpha=0.3, linewidth=0)
        axis.plot(
            [low, high],
            [accuracy[i]] * 2,
            color=_BLUE,
            linewidth=2.2,
            solid_capstyle="butt",
            label="in the band alone" if i == 0 else None,
        )
        axis.text(
            (low + high) / 2,
            0.01,
            str(size),
            transform=axis.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize="small",
        )
    for edge in np.unique(result.bands):
        axis.axvline(edge, color="grey", linewidth=0.6, linestyle=":")
    if result.clean_accuracy is not None:
        axis.axhline(result.clean_accuracy, color="black", linestyle="--", linewidth=1, label="no attack")
    axis.axhspan(*result.unconfined_robust_accuracy_interval, color=_RED, alpha=0.15, linewidth=0)
    axis.axhline(
        result.unconfined_robust_accuracy, color=_RED, linestyle="-.", linewidth=1.2, label="all frequencies"
    )
    axis.set_xlim(0, max(high for _, high in result.bands))
    axis.set_ylim(-0.06, 1.03)
    axis.set_xlabel("band (cycles per image); at the foot: its coefficients a channel")
    axis.set_ylabel("robust accuracy")
    axis.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)
    axis.grid(alpha=0.3, axis="y")
