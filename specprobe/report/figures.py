"""One figure a result type, with labelled axes, fit for print and for colour-blind readers."""

from functools import singledispatch
from typing import IO, TYPE_CHECKING, Any

from specprobe.analysis.band_replacement_result import BandReplacement
from specprobe.analysis.band_result import BandAccuracy
from specprobe.analysis.comparison_result import Comparison
from specprobe.analysis.corruption_result import CorruptionAccuracy
from specprobe.analysis.filters import FilterStatistics
from specprobe.analysis.frequency_shortcuts_rates import FrequencyShortcuts
from specprobe.analysis.frequency_shortcuts_result import FrequencyDeletion
from specprobe.analysis.frequency_shortcuts_spectra import ClassSpectra
from specprobe.analysis.heatmap_result import FourierHeatmap
from specprobe.analysis.inspection import Inspection
from specprobe.analysis.mask_reading_result import MaskDifference
from specprobe.analysis.mask_result import FourierMask
from specprobe.analysis.perturbation_result import PerturbationSpectrum
from specprobe.analysis.sensitivity_result import FourierSensitivity
from specprobe.attacks.band_sweep_result import AdversarialBandSweep
from specprobe.attacks.outcome import AttackOutcome
from specprobe.errors import DataError
from specprobe.report.attack import draw_attack
from specprobe.report.band_replacement import draw_band_replacement
from specprobe.report.band_sweep import draw_band_sweep
from specprobe.report.bands import draw_bands
from specprobe.report.comparison import draw_comparison
from specprobe.report.corruptions import draw_corruptions
from specprobe.report.filters import draw_filters
from specprobe.report.frequency_shortcuts import draw_class_spectra, draw_deletion, draw_shortcuts
from specprobe.report.heatmap import draw_heatmap
from specprobe.report.inspection import draw_inspection
from specprobe.report.mask import draw_mask
from specprobe.report.mask_reading import draw_mask_difference
from specprobe.report.perturbation import draw_perturbation
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


@draw.register(CorruptionAccuracy)
def _corruptions(result: CorruptionAccuracy, /, *, title: str = "") -> "Figure":
    """Accuracy by severity, and the spectrum of each change."""
    return draw_corruptions(result, title=title)


@draw.register(FourierHeatmap)
def _heatmap(result: FourierHeatmap, /, *, title: str = "") -> "Figure":
    """Maps of error and loss, and the first-order maps."""
    return draw_heatmap(result, title=title)


@draw.register(Inspection)
def _inspection(result: Inspection, /, *, title: str = "") -> "Figure":
    """The filters; with data, also the profile of the sensitivity and the curves over the cut-off."""
    return draw_inspection(result, title=title)


@draw.register(AttackOutcome)
def _attack(result: AttackOutcome, /, *, title: str = "") -> "Figure":
    """Images that fell, and the spectrum of what was added."""
    return draw_attack(result, title=title)


@draw.register(Comparison)
def _comparison(result: Comparison, /, *, title: str = "") -> "Figure":
    """All models on shared scales."""
    return draw_comparison(result, title=title)


@draw.register(PerturbationSpectrum)
def _perturbation(result: PerturbationSpectrum, /, *, title: str = "") -> "Figure":
    """Measures of change as maps and by ring, and where the power lies."""
    return draw_perturbation(result, title=title)


@draw.register(BandReplacement)
def _band_replacement(result: BandReplacement, /, *, title: str = "") -> "Figure":
    """What the low and the high part of a perturbation do alone."""
    return draw_band_replacement(result, title=title)


@draw.register(AdversarialBandSweep)
def _band_sweep(result: AdversarialBandSweep, /, *, title: str = "") -> "Figure":
    """Robust accuracy by band."""
    return draw_band_sweep(result, title=title)


@draw.register(FrequencyShortcuts)
def _shortcuts(result: FrequencyShortcuts, /, *, title: str = "") -> "Figure":
    """A map a class, and rates on its dominant frequencies alone."""
    return draw_shortcuts(result, title=title)


@draw.register(FrequencyDeletion)
def _deletion(result: FrequencyDeletion, /, *, title: str = "") -> "Figure":
    """A map a class."""
    return draw_deletion(result, title=title)


@draw.register(ClassSpectra)
def _class_spectra(result: ClassSpectra, /, *, title: str = "") -> "Figure":
    """A map a class, and magnitudes by ring."""
    return draw_class_spectra(result, title=title)


@draw.register(FourierMask)
def _mask(result: FourierMask, /, *, title: str = "") -> "Figure":
    """Mask, energy by radius, and an image under it."""
    return draw_mask(result, title=title)


@draw.register(MaskDifference)
def _mask_difference(result: MaskDifference, /, *, title: str = "") -> "Figure":
    """Energies by radius and direction, and the map."""
    return draw_mask_difference(result, title=title)


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
