"""What a result is, and the class of each kind."""

import importlib
from typing import Any, ClassVar, Protocol, runtime_checkable

from specprobe.errors import DataError

__all__ = ["Result", "result_type"]

_TYPES = {
    "accuracy": "specprobe.analysis.accuracy:Accuracy",
    "adam_masks_state": "specprobe.analysis.mask_state:AdamMasksState",  # in checkpoints alone
    "adversarial_band_sweep": "specprobe.attacks.band_sweep_result:AdversarialBandSweep",
    "attack_outcome": "specprobe.attacks.outcome:AttackOutcome",
    "audit": "specprobe.audit.verdicts:AuditResult",
    "band_accuracy": "specprobe.analysis.band_result:BandAccuracy",
    "band_replacement": "specprobe.analysis.band_replacement_result:BandReplacement",
    "class_spectra": "specprobe.analysis.frequency_shortcuts_spectra:ClassSpectra",
    "comparison": "specprobe.analysis.comparison_result:Comparison",
    "corruption_accuracy": "specprobe.analysis.corruption_result:CorruptionAccuracy",
    "filter_statistics": "specprobe.analysis.filters:FilterStatistics",
    "fourier_heatmap": "specprobe.analysis.heatmap_result:FourierHeatmap",
    "fourier_mask": "specprobe.analysis.mask_result:FourierMask",
    "fourier_sensitivity": "specprobe.analysis.sensitivity_result:FourierSensitivity",
    "frequency_counts": "specprobe.attacks.universal_search:FrequencyCounts",  # in checkpoints alone
    "frequency_deletion": "specprobe.analysis.frequency_shortcuts_result:FrequencyDeletion",
    "frequency_shortcuts": "specprobe.analysis.frequency_shortcuts_rates:FrequencyShortcuts",
    "inspection": "specprobe.analysis.inspection:Inspection",
    "mask_difference": "specprobe.analysis.mask_reading_result:MaskDifference",
    "measured_model": "specprobe.workflow.comparison:MeasuredModel",  # in checkpoints alone
    "measurements": "specprobe.workflow.measurements:Measurements",  # in checkpoints alone
    "perturbation_spectrum": "specprobe.analysis.perturbation_result:PerturbationSpectrum",
    "shared_mask_state": "specprobe.analysis.mask_state:SharedMaskState",  # in checkpoints alone
    "predictions": "specprobe.analysis.comparison_predictions:Predictions",  # in checkpoints alone
    "trust_region_masks_state": "specprobe.analysis.mask_state:TrustRegionMasksState",  # in checkpoints alone
}


@runtime_checkable
class Result(Protocol):
    """What every analysis returns."""

    kind: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Field names and JSON values; numbers that are not valid are null.

        Returns
        -------
        dict
            The ``result`` of a document.
        """
        ...


def result_type(kind: str, /) -> Any:
    """Class of the results of one kind.

    Parameters
    ----------
    kind : str
        As in a document.

    Returns
    -------
    type
        Has ``from_dict``.

    Raises
    ------
    DataError
        If there is no such kind.
    """
    if kind not in _TYPES:
        msg = f"there is no result of kind '{kind}'; known are {', '.join(_TYPES)}"
        raise DataError(msg)
    module, _, name = _TYPES[kind].partition(":")
    return getattr(importlib.import_module(module), name)
