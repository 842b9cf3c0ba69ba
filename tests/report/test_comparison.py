"""The figure of a comparison: every model on the same scales, told apart, labelled."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specprobe
from specprobe.analysis.accuracy import counted
from specprobe.analysis.comparison import compare_results
from specprobe.analysis.comparison_result import Comparison
from specprobe.analysis.filters import FilterStatistics
from specprobe.errors import DataError
from specprobe.report.figures import draw, save
from specprobe.report.page import page
from specprobe.results import document

DIGITS = Path(specprobe.__file__).parent.parent / "models" / "digits"


@pytest.fixture(scope="module")
def result() -> Comparison:
    images = specprobe.load_images(DIGITS / "test.npz", limit=30)
    return specprobe.compare([specprobe.load(DIGITS / f"{n}.onnx") for n in ("normal", "robust")], images)


def axes_of(figure: Any) -> dict[str, Any]:
    return {axis.get_xlabel(): axis for axis in figure.get_axes() if axis.get_xlabel()}


def test_every_panel_is_labelled_and_holds_every_model(result: Comparison) -> None:
    figure = draw(result)
    axes = figure.get_axes()
    assert len(axes) == 3 + 2 + 1 + 4  # curves, maps, their scale, filters
    assert all(axis.get_xlabel() or axis.get_ylabel() for axis in axes)
    profile = axes_of(figure)["spatial frequency (cycles per image)"]
    drawn = [np.asarray(line.get_ydata()) for line in profile.lines]
    for part in result.results:
        assert any(np.array_equal(y, part.sensitivity.power_share) for y in drawn)
    assert any(np.array_equal(y, result.results[0].sensitivity.white_noise_share) for y in drawn)
    low = axes_of(figure)["low-pass cut-off (cycles per image)"]
    accuracies = [entry["accuracy"] for entry in result.results[1].to_dict()["bands"]["low_pass"]]
    assert any(list(np.asarray(line.get_ydata())) == accuracies for line in low.lines)


def test_maps_share_one_scale(result: Comparison) -> None:
    norms = [image.norm for axis in draw(result).get_axes() for image in axis.get_images()]
    assert len(norms) == 2
    assert result.power_map is not None
    assert {(norm.vmin, norm.vmax) for norm in norms} == {
        (1e-4 * result.power_map.max(), result.power_map.max())
    }


def test_curves_share_one_scale(result: Comparison) -> None:
    found = axes_of(draw(result))
    limits = {found[f"{kind}-pass cut-off (cycles per image)"].get_ylim() for kind in ("low", "high")}
    assert limits == {(0, 1.03)}


def test_six_models_are_told_apart_by_colour_and_by_marker(result: Comparison) -> None:
    names = [f"m{i}" for i in range(6)]
    six = compare_results([result.results[i % 2] for i in range(6)], names=names)
    profile = axes_of(draw(six))["spatial frequency (cycles per image)"]
    styles = [(line.get_color(), line.get_marker()) for line in profile.lines if line.get_marker() != "None"]
    assert len(styles) == 6
    for part in zip(*styles, strict=True):
        assert len(set(part)) == 6
    more = compare_results([result.results[0]] * 8, names=[f"m{i}" for i in range(8)])
    lines = axes_of(draw(more))["spatial frequency (cycles per image)"].lines
    assert (
        len({(line.get_color(), line.get_linestyle()) for line in lines}) == 8 + 2
    )  # white noise, and where bands end


def test_names_out_of_a_file_are_no_markup_and_are_all_shown(result: Comparison) -> None:
    named = replace(result, models=("$\\frac{", "_<hidden>"))
    file = io.BytesIO()
    save(draw(named), file, suffix=".svg")
    figure = draw(named)
    texts = [text.get_text() for legend in figure.legends for text in legend.texts]
    assert texts == ["$\\frac{", "_<hidden>"]
    assert b"<hidden>" not in file.getvalue()


def test_equal_results_give_equal_bytes(result: Comparison, rendered: Any) -> None:
    assert rendered(result) == rendered(result)


def test_what_is_not_there_is_not_drawn(result: Comparison) -> None:
    assert len(draw(replace(result, power_map=None)).get_axes()) == 7
    bare = compare_results([replace(part, sensitivity=None) for part in result.results], names=["a", "b"])
    assert len(draw(bare).get_axes()) == 6
    half = [result.results[0], replace(result.results[1], sensitivity=None, bands=None)]
    texts = [
        text.get_text()
        for axis in draw(compare_results(half, names=["a", "b"])).get_axes()
        for text in axis.texts
    ]
    assert "no gradient" in texts
    weights = specprobe.compare([DIGITS / "normal.onnx", DIGITS / "robust.onnx"])
    assert len(draw(weights).get_axes()) == 4
    empty = [replace(part, filters=FilterStatistics()) for part in weights.results]
    with pytest.raises(DataError, match="there is nothing to draw"):
        draw(compare_results(empty, names=["a", "b"]))


def test_without_labels_agreement_is_drawn(result: Comparison) -> None:
    content = draw(
        compare_results([replace(p, bands=_unlabelled(p.bands)) for p in result.results], names=["a", "b"])
    )
    axis = axes_of(content)["low-pass cut-off (cycles per image)"]
    assert axis.get_ylabel() == "agreement with the clean prediction"


def _unlabelled(bands: Any) -> Any:
    none = np.zeros(0, np.int64)
    return replace(bands, class_labels=none, class_images=none, class_correct=np.zeros((0, 23), np.int64))


def test_results_without_a_shape_have_no_figure() -> None:
    digests = np.zeros((40, 16), np.uint8)
    right = counted(np.arange(40) % 2, np.arange(40) % 2, digests=digests)
    with pytest.raises(DataError, match="there is nothing to draw"):
        draw(compare_results([right, right], names=["a", "b"]))


def test_a_page_shows_the_figure_and_the_differences(result: Comparison) -> None:
    text = page([document(result)], results=[result])
    assert "Comparison: normal.onnx, robust.onnx" in text
    assert "share of high frequencies: robust.onnx − normal.onnx" in text
    assert "data:image/svg+xml" in text
