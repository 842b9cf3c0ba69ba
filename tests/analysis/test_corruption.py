"""Accuracy on corrupted images is what it is on these images, and spectra are those of the change."""

import io
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specprobe
from specprobe.analysis.corruption import CorruptionAccuracy, corruption_accuracy
from specprobe.analysis.metrics import metrics
from specprobe.errors import DataError, InputMismatch
from specprobe.images import ArraySource
from specprobe.images.corruptions import CORRUPTIONS, corrupt
from specprobe.report.figures import draw, save
from specprobe.results import document, from_document, pack, unpack
from specprobe.runtime.network import Network, load
from specprobe.streaming import Checkpoint

DIGITS = Path(specprobe.__file__).parent.parent / "models" / "digits"
KINDS = ("gaussian-noise", "fog", "contrast")
IMAGES = 100


@pytest.fixture(scope="module")
def network() -> Network:
    return load(DIGITS / "normal.onnx")


@pytest.fixture(scope="module")
def data() -> tuple[Any, Any]:
    batch = specprobe.load_images(DIGITS / "test.npz").read(0, IMAGES)
    return np.asarray(batch.images), batch.labels


@pytest.fixture(scope="module")
def result(network: Network, data: tuple[Any, Any]) -> CorruptionAccuracy:
    return corruption_accuracy(network, *data, corruptions=KINDS, severities=(1, 5))


def test_accuracies_are_those_of_the_corrupted_images(
    network: Network, data: tuple[Any, Any], result: CorruptionAccuracy
) -> None:
    images, labels = data
    for place, kind in enumerate(KINDS):
        for column, severity in enumerate((1, 5)):
            made = corrupt(images, kind, severity=severity)
            right = np.asarray(network.logits(made)).argmax(axis=1) == labels
            assert result.correct[place, column] == right.sum()
            assert result.image_correct is not None
            assert np.array_equal(result.image_correct[:, place, column], right)
            lengths = np.sqrt(((made - images).astype(np.float64) ** 2).sum(axis=(1, 2, 3)))
            assert result.l2_norm[place, column] == pytest.approx(lengths.mean(), rel=1e-6)
    assert result.clean == specprobe.accuracy(network, ArraySource(images, labels))
    assert result.mean_corruption_error == pytest.approx(1 - result.accuracy.mean())


def test_spectra_tell_noise_from_fog(result: CorruptionAccuracy) -> None:
    noise, fog, contrast = result.high_frequency_share[:, 1]
    assert noise > 0.6
    assert fog < 0.1
    assert contrast < 0.1
    assert np.nansum(result.power_share, axis=2) == pytest.approx(1)
    assert result.centroid_cycles_per_image[0, 1] > 2 * result.centroid_cycles_per_image[1, 1]


def test_white_noise_is_the_reference_of_noise(result: CorruptionAccuracy) -> None:
    assert result.white_noise_share.shape == result.power_share.shape[2:]
    assert result.white_noise_share.sum() == pytest.approx(1)
    noise, fog, _ = result.power_share[:, 0]
    assert np.abs(noise - result.white_noise_share).sum() < 0.3 * np.abs(fog - result.white_noise_share).sum()
    assert result.white_noise_high_frequency_share == pytest.approx(
        result.high_frequency_share[0, 0], abs=0.1
    )


@pytest.mark.parametrize("executor", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_whoever_computes_the_shards(
    network: Network, data: tuple[Any, Any], result: CorruptionAccuracy, executor: Any
) -> None:
    with executor(2) as workers:
        found = corruption_accuracy(network, *data, corruptions=KINDS, severities=(1, 5), executor=workers)
    assert found == result


def test_parts_merge_to_the_whole(
    network: Network, data: tuple[Any, Any], result: CorruptionAccuracy
) -> None:
    images, labels = data
    parts = []
    for start, stop in ((0, 64), (64, IMAGES)):

        class Part(ArraySource):
            def read(self, first: int, last: int, /) -> Any:
                return replace(super().read(first, last), start=first + start)  # noqa: B023

        part = Part(images[start:stop], labels[start:stop])
        parts.append(corruption_accuracy(network, part, corruptions=KINDS, severities=(1, 5)))
    merged = parts[0].merge(parts[1])
    assert np.array_equal(merged.correct, result.correct)
    assert np.allclose(merged.power_share, result.power_share, rtol=1e-12)
    assert np.allclose(merged.power_share_std, result.power_share_std, rtol=1e-9)
    assert merged.image_digest is not None
    assert result.image_digest is not None
    assert np.array_equal(merged.image_digest, result.image_digest)
    with pytest.raises(InputMismatch, match="severities"):
        parts[0].merge(replace(parts[1], severities=(1, 4)))


def test_an_interrupted_run_ends_in_the_same_bits(
    network: Network, data: tuple[Any, Any], result: CorruptionAccuracy, tmp_path: Path
) -> None:
    def stop(done: int) -> None:
        if done == 64:
            raise KeyboardInterrupt

    checkpoint = Checkpoint(path=tmp_path / "part.npz", fingerprint="it", resume=True)
    given: dict[str, Any] = {"corruptions": KINDS, "severities": (1, 5), "checkpoint": checkpoint}
    with pytest.raises(KeyboardInterrupt):
        corruption_accuracy(network, *data, progress=stop, **given)
    assert corruption_accuracy(network, *data, **given) == result


def test_results_survive_json_and_packing(result: CorruptionAccuracy) -> None:
    assert unpack(*pack(result)) == result
    again = from_document(document(result, model={}))
    assert again.image_correct is None
    assert np.array_equal(again.correct, result.correct)
    assert np.array_equal(again.power_share, result.power_share)
    content = result.to_dict()
    assert again.to_dict() == content | {"mean_corruption_error_interval": None}
    assert len(content["entries"]) == 6


def test_numbers_have_names(result: CorruptionAccuracy) -> None:
    named = {metric.name: metric for metric in metrics(result)}
    assert set(named) == {"corruptions.mean_error", *(f"corruptions.{kind}.accuracy" for kind in KINDS)}
    for metric in named.values():
        assert metric.image_values is not None
        assert metric.value == pytest.approx(metric.image_values.mean())
        assert metric.interval is not None
        assert metric.value is not None
        assert metric.interval[0] <= metric.value <= metric.interval[1]


def test_equal_results_give_equal_figures(result: CorruptionAccuracy) -> None:
    written = []
    for _ in range(3):
        file = io.BytesIO()
        figure = draw(result, title="$\\frac{<script>")
        save(figure, file, suffix=".svg")
        written.append(file.getvalue())
    assert len(set(written)) == 1
    assert all(axis.get_xlabel() and axis.get_ylabel() for axis in figure.axes)


def test_a_change_that_is_none_has_no_spectrum(network: Network) -> None:
    constant = np.full((3, *network.image_shape), 0.5, np.float32)
    found = corruption_accuracy(
        network, constant, np.zeros(3, np.int64), corruptions=("contrast",), severities=(5,)
    )
    assert found.changed.tolist() == [[0]]
    assert np.isnan(found.power_share).all()
    assert found.to_dict()["entries"][0]["high_frequency_share"] is None
    assert "no-change" in [finding.code for finding in found.findings]
    assert found.rank_correlation is None


def test_what_cannot_be_measured_is_refused(network: Network, data: tuple[Any, Any]) -> None:
    images, labels = data
    with pytest.raises(DataError, match="no labels"):
        corruption_accuracy(network, images)
    with pytest.raises(InputMismatch, match="accepted are gaussian-noise"):
        corruption_accuracy(network, images, labels, corruptions=("rain",))
    with pytest.raises(ValueError, match="no corruption or no severity"):
        corruption_accuracy(network, images, labels, severities=())
    with pytest.raises(ValueError, match="batch_size is 0"):
        corruption_accuracy(network, images, labels, batch_size=0)
    assert len(CORRUPTIONS) == 7
