"""Figure of a heat map: the maps of the result, labelled, with what was not evaluated."""

from typing import Any

import numpy as np
from matplotlib.colors import to_hex

from specprobe.analysis.heatmap import FourierHeatmap, fourier_heatmap
from specprobe.images import ArraySource
from specprobe.report.figures import draw
from specprobe.report.heatmap import draw_heatmap


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

    def tensors(self, images: Any, names: Any, /) -> tuple[Any, ...]:
        return self.logits(images), *(images[:, 0, : n + 1] for n, _ in enumerate(names))

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


def test_refined_maps_are_filled_and_say_so() -> None:
    result = measured(refine=4, l2_norm_per_channel=0.01)
    assert not result.evaluated.all()
    figure = draw(result, title="model.onnx")
    told = f"interpolated between the {result.frequencies_evaluated} of 74 frequencies that were evaluated"
    assert told in figure.get_suptitle()
    for axis, values in zip(maps(figure), (result.error_rate, result.loss_increase), strict=True):
        shown = axis.images[0].get_array()
        known = result.evaluated_cells
        np.testing.assert_array_equal(np.ma.getdata(shown)[known], values[known])
        assert not np.ma.getmaskarray(shown).any()
        low, high = np.nanmin(values), np.nanmax(values)
        assert low <= shown.min() <= shown.max() <= high
    assert not figure.legends
    assert np.isnan(result.error_rate).any(), "the result has no such numbers"
    bare = draw_heatmap(result, interpolated=False)
    assert "interpolated" not in bare.get_suptitle()
    hidden = np.ma.getmaskarray(maps(bare)[0].images[0].get_array())
    np.testing.assert_array_equal(hidden, ~result.evaluated_cells)
    assert bare.legends


def test_a_sub_grid_is_filled_on_demand_and_grey_around() -> None:
    result = measured(frequencies=[[0, 0], [0, 4], [4, 0], [4, 4]])
    shown = np.ma.getmaskarray(maps(draw_heatmap(result, interpolated=True))[0].images[0].get_array())
    assert not shown[6 : 6 + 5, 6 : 6 + 5].any()
    assert shown[0].all()
    alone = draw_heatmap(measured(frequencies=1), interpolated=True)
    assert np.ma.getmaskarray(maps(alone)[0].images[0].get_array()).sum() == 143


def test_layers_have_a_row_each() -> None:
    result = measured(layers=["one", "$two$"])
    figure = draw(result)
    shown = maps(figure)
    assert len(shown) == 6
    assert result.layer_change is not None
    assert result.layer_relative_change is not None
    pairs = zip(result.layer_change, result.layer_relative_change, strict=True)
    for axis, values in zip(shown[2:], [part for pair in pairs for part in pair], strict=True):
        np.testing.assert_array_equal(np.ma.getdata(axis.images[0].get_array()), values)
    assert [axis.get_title() for axis in shown[2:]] == ["one", "one", "$two$", "$two$"]
    scaled = maps(draw_heatmap(result, largest_is_one=True))
    for axis, values in zip(scaled[2::2], result.layer_change, strict=True):
        array = np.ma.getdata(axis.images[0].get_array())
        assert array.max() == 1
        np.testing.assert_allclose(array, values / values.max())


def test_images_that_are_no_squares_are_drawn() -> None:
    shown = maps(draw(measured(shape=(9, 16))))
    assert tuple(shown[0].images[0].get_extent()) == (-8.5, 7.5, 4.5, -4.5)


def test_equal_results_give_equal_bytes_before_and_after_json(rendered: Any) -> None:
    result = measured(frequencies=7)
    assert rendered(result) == rendered(FourierHeatmap.from_dict(result.to_dict()))
