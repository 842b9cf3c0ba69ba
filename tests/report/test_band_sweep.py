"""Figure of an adversarial band sweep."""

from typing import Any

import numpy as np

from specprobe.attacks.band_sweep_result import AdversarialBandSweep
from specprobe.report.figures import draw


def result(**changes: Any) -> AdversarialBandSweep:
    fields: dict[str, Any] = {
        "bands": ((0.0, 5.0), (5.0, 12.0)),
        "image_shape": (3, 16, 16),
        "attack": "pgd",
        "threat_norm": "l2",
        "epsilon": 0.5,
        "steps": 10,
        "restarts": 1,
        "seed": 0,
        "target": "true",
        "images": 20,
        "attacked": 18,
        "standing": np.array([3, 12]),
        "unconfined_standing": 1,
        "moved": np.array([18, 18]),
        "mean_leakage": np.array([0.001, 0.002]),
        "max_leakage": np.array([0.01, 0.01]),
    }
    return AdversarialBandSweep(**fields | changes)


def test_bars_are_the_accuracies_over_their_bands() -> None:
    drawn: list[Any] = draw(result()).get_axes()
    (axis,) = drawn
    bars = [line for line in axis.lines if line.get_linewidth() == 2.2]
    assert [list(line.get_xdata()) for line in bars] == [[0, 5], [5, 12]]
    assert [line.get_ydata()[0] for line in bars] == [0.15, 0.6]
    assert [text.get_text() for text in axis.texts] == [str(n) for n in result().coefficients]
    labels = {line.get_label(): line.get_ydata()[0] for line in axis.lines}
    assert (labels["no attack"], labels["all frequencies"]) == (0.9, 0.05)
    assert axis.get_ylabel() == "robust accuracy"


def test_predictions_have_no_line_of_the_clean_accuracy() -> None:
    (axis,) = draw(result(target="predicted")).get_axes()
    assert "no attack" not in {line.get_label() for line in axis.lines}


def test_equal_results_give_equal_bytes(rendered: Any) -> None:
    assert rendered(result()) == rendered(result())
