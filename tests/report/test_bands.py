"""Figures of band accuracies: curves, intervals, references, bands."""

from typing import Any

import numpy as np

from specprobe.analysis.bands import BandAccuracy, band_accuracy
from specprobe.images import ArraySource
from specprobe.report.figures import draw


class Corners:
    """Logits are three pixels."""

    classes = 3

    def logits(self, images: Any, /) -> Any:
        return images[:, 0, 0, :3]


def measured(*, labels: bool = True, **options: Any) -> BandAccuracy:
    images = np.random.default_rng(0).uniform(0, 1, (60, 1, 12, 12)).astype(np.float32)
    answers = np.argmax(images[:, 0, 0, :3], axis=1)
    return band_accuracy(Corners(), ArraySource(images, answers if labels else None), **options)


def test_curves_are_those_of_the_result() -> None:
    result = measured()
    content = result.to_dict()
    figure = draw(result, title="$model.onnx$")
    assert [axis.get_ylabel() for axis in figure.axes] == ["accuracy", "agreement with the clean prediction"]
    for axis, key in zip(figure.axes, ("accuracy", "agreement"), strict=True):
        assert axis.get_xlabel() == "cut-off (cycles per image)"
        assert len(axis.collections) == 2, "an interval a curve"
        for line, name in zip(axis.lines[:2], ("low_pass", "high_pass"), strict=True):
            assert np.asarray(line.get_xdata()).tolist() == list(result.radii)
            assert np.asarray(line.get_ydata()).tolist() == [entry[key] for entry in content[name]]
    labels = [str(line.get_label()) for line in figure.axes[0].lines]
    assert {"clean accuracy", "chance", f"radius_95: {result.radius_95:g}"} <= set(labels)


def test_bands_and_wedges_have_panels_of_their_own() -> None:
    figure = draw(measured(bands=((0, 3), (3, np.inf)), wedges=((0, 90),)))
    shown = figure.axes
    assert len(shown) == 4
    assert [axis.get_xlabel() for axis in shown[2:]] == ["band (cycles per image)", "direction (degrees)"]
    assert [text.get_text() for text in shown[2].get_xticklabels()] == ["0:3", "3:"]
    assert len(draw(measured(radii=(), bands=((0, 3),))).axes) == 1


def test_without_labels_agreement_is_drawn() -> None:
    figure = draw(measured(labels=False, bands=((0, 3),)))
    assert {axis.get_ylabel() for axis in figure.axes} == {"agreement with the clean prediction"}


def test_equal_results_give_equal_bytes_before_and_after_json(rendered: Any) -> None:
    result = measured(bands=((2, 4),))
    assert rendered(result) == rendered(BandAccuracy.from_dict(result.to_dict()))
