"""Figure of accuracies on corrupted images: over the severity, and against the spectrum of the change."""

from typing import TYPE_CHECKING

import numpy as np

from specprobe.intervals import wilson_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from specprobe.analysis.corruption_result import CorruptionAccuracy

__all__ = ["draw_corruptions"]

# Okabe and Ito's palette: told apart by readers of any colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vPX"


def draw_corruptions(result: "CorruptionAccuracy", /, *, title: str = "") -> "Figure":
    """Accuracy by severity with intervals, spectra of the changes, and accuracy lost against their frequencies.

    Parameters
    ----------
    result : CorruptionAccuracy
        With or without per-image arrays.
    title : str
        Above the figure, without mathematical markup.

    Returns
    -------
    matplotlib.figure.Figure
        Belongs to no window.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.6), layout="constrained")
    accuracy, spectra, against = figure.subplots(1, 3)
    _accuracies(accuracy, result)
    _spectra(spectra, result)
    _against(against, result)
    handles, labels = accuracy.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(8, len(labels)), frameon=False)
    name = f"{title}: " if title else ""
    figure.suptitle(
        f"{name}corrupted images, {result.images} of them, {100 * result.confidence:g} % intervals",
        parse_math=False,
        fontsize="medium",
    )
    return figure


def _accuracies(axis: "Axes", result: "CorruptionAccuracy") -> None:
    for place, name in enumerate(result.corruptions):
        low, high = np.array(
            [
                wilson_interval(int(count), result.images, confidence=result.confidence)
                for count in result.correct[place]
            ]
        ).T
        colour = _COLOURS[place % len(_COLOURS)]
        axis.fill_between(result.severities, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.plot(
            result.severities,
            result.accuracy[place],
            color=colour,
            marker=_MARKERS[place % len(_MARKERS)],
            markersize=4,
            label=name,
        )
    axis.axhline(result.clean.accuracy, color="black", linestyle="--", linewidth=1, label="clean")
    axis.set_xlabel("severity")
    axis.set_ylabel("accuracy")
    axis.set_xticks(result.severities)
    axis.set_ylim(0, 1.03)
    axis.grid(alpha=0.3)


def _spectra(axis: "Axes", result: "CorruptionAccuracy") -> None:
    rings = np.arange(1, result.power_share.shape[2] + 1)
    middle = len(result.severities) // 2
    for place in range(len(result.corruptions)):
        axis.plot(
            rings, result.power_share[place, middle], color=_COLOURS[place % len(_COLOURS)], linewidth=1.4
        )
    axis.plot(
        rings, result.white_noise_share, color="black", linestyle="--", linewidth=1.2, label="white noise"
    )
    axis.axvline(min(result.image_size) / 4, color="grey", linestyle=":", linewidth=1)
    axis.legend(fontsize="small", frameon=False)
    axis.set_xlabel("spatial frequency of the change (cycles per image)")
    axis.set_ylabel(f"share of its power (ring sums), severity {result.severities[middle]}")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)


def _against(axis: "Axes", result: "CorruptionAccuracy") -> None:
    lost = result.clean.accuracy - result.accuracy
    for place in range(len(result.corruptions)):
        axis.plot(
            result.high_frequency_share[place],
            lost[place],
            color=_COLOURS[place % len(_COLOURS)],
            marker=_MARKERS[place % len(_MARKERS)],
            markersize=5,
            linestyle="-",
            linewidth=0.6,
        )
    rank = result.rank_correlation
    told = "" if rank is None else f"rank correlation {rank:.2f}"
    axis.set_title(told, fontsize="small")
    axis.axhline(0, color="black", linewidth=0.6)
    axis.axvline(
        result.white_noise_high_frequency_share,
        color="black",
        linestyle="--",
        linewidth=1.2,
        label="white noise",
    )
    axis.legend(fontsize="small", frameon=False)
    axis.set_xlim(-0.02, 1.02)
    axis.set_xlabel("share of the change above a quarter of the side")
    axis.set_ylabel("accuracy lost")
    axis.grid(alpha=0.3)
