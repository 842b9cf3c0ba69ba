"""Figure of a heat map: the maps of the result, labelled, with what was not evaluated."""

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex

from specprobe.analysis.heatmap import FourierHeatmap, fourier_heatmap
from specprobe.images import ArraySource
from specprobe.report.figures import draw, save


class Corners:
    """Logits are three pixels, so the margin has a gradient of two."""

    classes = 3

    def logits(self, images: Any, /) -> Any:
        return images[:, 0, 0, :3]

    def gradient(self, images: Any, labels: Any, /, *, loss: str) -> tuple[Any, Any]:
        assert loss == "margin"
        logits, rows = self.logits(images).copy(), np.arange(len(images))
        own = logits[rows, labels]
        logits[rows, labels] = -np.inf
        gradients = np.zeros_like(images)
        gradients[rows, 0, 0, logits.argmax(axis=1)] = 1
        gradients[rows, 0, 0, labels] = -1
        return logits.max(axis=1) - own, gradients

    def vjp(self, images: Any, cotangent: Any, /) -> Any:
        raise NotImplementedError


def measured(*, shape: tuple[int, int] = (12, 12), **options: Any) -> FourierHeatmap:
    images = np.random.default_rng(0).uniform(0, 1, (20, 1, *shape)).astype(np.float32)
    answers = np.argmax(images[:, 0, 0, :3], axis=1)
    return fourier_heatmap(Corners(), ArraySource(images, answers), **options)


def maps(figure: Any) -> list[Any]:
    return [axis for axis in figure.axes if axis.images and axis.get_xlabel()]


def test_maps_are_those_of_the_result_with_the_mean_in_the_centre() -> None:
    result = measured()
    figure = draw(result, title="$model.onnx$")
    shown = maps(figure)
    assert len(shown) == 2
    for axis, values in zip(shown, (result.error_rate, result.loss_increase), strict=True):
        np.testing.assert_array_equal(np.ma.getdata(axis.images[0].get_array()), values)
        assert tuple(axis.images[0].get_extent()) == (-6.5, 5.5, 5.5, -6.5)
        assert "cycles per image" in axis.get_xlabel()
        assert "cycles per image" in axis.get_ylabel()
        assert [text.get_text() for text in axis.texts] == ["2.5", "4.5"]
    image = shown[0].images[0]
    assert (image.get_cmap().name, *image.get_clim()) == ("viridis", 0, 1)
    labels = [axis.get_ylabel() for axis in figure.axes if axis not in shown]
    assert labels == [
        f"error rate (clean {result.clean_error_rate:.3f})",
        "mean increase of the cross-entropy (nats)",
    ]
    assert not figure.legends


def test_cells_that_were_not_evaluated_are_grey_and_explained() -> None:
    result = measured(frequencies=5)
    figure = draw(result)
    for axis in maps(figure):
        hidden = np.ma.getmaskarray(axis.images[0].get_array())
        np.testing.assert_array_equal(hidden, np.isnan(result.error_rate))
        assert to_hex(axis.get_facecolor()) == "#c8c8c8"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["not evaluated"]


def test_first_order_maps_stand_below() -> None:
    result = measured(first_order=True, sample=20)
    figure = draw(result)
    shown = maps(figure)
    assert len(shown) == 4
    predicted = (result.flip_probability, result.derivative_rms)
    for axis, values in zip(shown[2:], predicted, strict=True):
        assert values is not None
        np.testing.assert_array_equal(np.ma.getdata(axis.images[0].get_array()), values)
    labels = " ".join(axis.get_ylabel() for axis in figure.axes)
    assert labels.count("first order") == 2
    assert f"rank correlation {result.rank_correlation:.2f}" in labels


def test_a_rank_correlation_that_does_not_exist_is_told() -> None:
    labels = " ".join(axis.get_ylabel() for axis in draw(measured(first_order=True, sample=1)).axes)
    assert labels.count("rank correlation not known") == 2


def test_images_that_are_no_squares_are_drawn() -> None:
    shown = maps(draw(measured(shape=(9, 16))))
    assert tuple(shown[0].images[0].get_extent()) == (-8.5, 7.5, 4.5, -4.5)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_equal_results_give_equal_bytes_before_and_after_json(suffix: str) -> None:
    result = measured(frequencies=7)
    written = []
    for drawn in (result, FourierHeatmap.from_dict(result.to_dict())):
        file = io.BytesIO()
        save(draw(drawn, title="$\\frac{<script>"), file, suffix=suffix)
        written.append(file.getvalue())
    assert written[0] == written[1]
    assert b"<script>" not in written[0]
