"""Which single frequency breaks a classifier: on fakes with known answers, and on networks that read known bands."""

import json
import pickle
import tracemalloc
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

import specprobe
from specprobe.analysis.heatmap import HEATMAP_SHARD_IMAGES, FourierHeatmap, fourier_heatmap
from specprobe.analysis.heatmap_merge import PER_IMAGE
from specprobe.arrays import like, namespace, to_host
from specprobe.errors import DataError, EmptyInput, InputMismatch, InvalidNumbers
from specprobe.images import ArraySource
from specprobe.intervals import wilson_interval
from specprobe.protocols import Batch
from specprobe.randomness import generator
from specprobe.recipe import Preprocessing
from specprobe.results import document, dump_json, from_document, pack, unpack
from specprobe.spectral.grid import frequency_index, radius, real_frequencies
from specprobe.streaming import Checkpoint

ROOT = Path(__file__).resolve().parents[2]
GOOGLE: dict[str, Any] = {"phase": "45", "random_sign": False, "clip": False}


class Layered:
    """Two random layers in float64, of any array library: its answers hang on every frequency."""

    def __init__(self, shape: tuple[int, int, int], *, classes: int = 5, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.classes = classes
        pixels = int(np.prod(shape))
        self.first = 4 * rng.normal(size=(pixels, 12)) / np.sqrt(pixels)
        self.second = rng.normal(size=(12, classes))

    def logits(self, images: Any, /) -> Any:
        xp = namespace(images)
        flat = xp.astype(xp.reshape(images, (images.shape[0], -1)), xp.float64)
        first, second = like(self.first, images), like(self.second, images)
        # Row by row: the bits of a product may hang on how many rows it has.
        rows = [xp.tanh(flat[i, :] @ first) @ second for i in range(images.shape[0])]
        return xp.stack(rows, axis=0)


class LowPass:
    """A classifier that sees rho < r0 alone."""

    def __init__(self, inner: Layered, shape: tuple[int, int], r0: float) -> None:
        self.inner, self.classes = inner, inner.classes
        self.kept = np.fft.ifftshift(radius(shape) < r0)

    def logits(self, images: Any, /) -> Any:
        return self.inner.logits(np.fft.ifft2(np.fft.fft2(images.astype(np.float64)) * self.kept).real)


class Recorder:
    """Keeps what it is shown."""

    classes = 3

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def logits(self, images: Any, /) -> Any:
        self.seen.append(np.array(images, np.float64))
        return np.asarray(images[:, 0, 0, :3], np.float64)

    def added(self, clean: int) -> Any:
        """What was added to grey images, behind the clean ones."""
        return np.concatenate(self.seen)[clean:] - 0.5


def pictures(count: int, shape: tuple[int, int, int], *, seed: int = 1) -> Any:
    rng = np.random.default_rng(seed)
    return rng.uniform(0.2, 0.8, size=(count, *shape)).astype(np.float32)


def labelled(shape: tuple[int, int, int], count: int = 20, *, right: float = 0.8) -> tuple[Layered, Any, Any]:
    """A classifier, and images of which it gets about a share right."""
    classifier, images = Layered(shape), pictures(count, shape)
    labels = classifier.logits(images).argmax(axis=1)
    wrong = np.random.default_rng(2).uniform(size=count) > right
    return classifier, images, np.where(wrong, (labels + 1) % classifier.classes, labels)


# What is added


@pytest.mark.parametrize("phase", ["0", "45", "random"])
@pytest.mark.parametrize("shape", [(8, 8), (7, 9), (6, 5)])
def test_additions_are_waves_of_one_frequency_each_seen_once(phase: Any, shape: tuple[int, int]) -> None:
    recorder = Recorder()
    frequencies = real_frequencies(shape)
    result = fourier_heatmap(
        recorder, np.full((3, 3, *shape), 0.5), [0, 1, 2], l2_norm_per_channel=0.7, phase=phase, clip=False
    )
    added = recorder.added(3)
    assert result.model_evaluations == 3 * (1 + len(frequencies)) == 3 + len(added)
    assert np.allclose(np.linalg.norm(added, axis=(2, 3)), 0.7, atol=1e-6)
    spectrum = np.fft.fftshift(np.fft.fft2(added, norm="ortho"), axes=(-2, -1))
    support = np.abs(spectrum) > 1e-5
    found: Counter[int] = Counter()
    for image in support:
        assert (image == image[:1]).all()  # the same in each channel
        cells = frequency_index(shape)[image[0]]
        assert len(set(cells.tolist())) == 1  # a frequency and its conjugate
        assert image[0].sum() == (frequency_index(shape) == cells[0]).sum()
        found[int(cells[0])] += 1
    assert found == dict.fromkeys(range(len(frequencies)), 3)


def test_a_map_of_32_by_32_takes_514_evaluations_an_image_and_worst_of_two_1024() -> None:
    for phase, wanted in (("0", 514), ("45", 514), ("random", 514), ("worst-of-two", 1024)):
        recorder = Recorder()
        images = np.full((2, 1, 32, 32), 0.5, np.float32)
        result = fourier_heatmap(recorder, images, [0, 0], phase=phase, batch_size=64)  # type: ignore[arg-type]
        assert result.model_evaluations == 2 * wanted + 2 == sum(map(len, recorder.seen))
        assert len(recorder.seen[1:]) == -(-2 * wanted // 64)
        assert {len(batch) for batch in recorder.seen[1:-1]} == {64}
        assert len(np.unique(recorder.added(2)[::2].round(5), axis=0)) == wanted


def test_worst_of_two_adds_an_orthogonal_pair() -> None:
    recorder = Recorder()
    fourier_heatmap(
        recorder, np.full((1, 1, 8, 8), 0.5), [0], l2_norm_per_channel=1, phase="worst-of-two", clip=False
    )
    added = recorder.added(1).reshape(64, 64)
    assert np.allclose(added @ added.T, np.eye(64), atol=1e-6)


def test_signs_are_those_of_the_image_and_the_same_for_every_frequency() -> None:
    settings: dict[str, Any] = {"l2_norm_per_channel": 1, "clip": False, "seed": 5}
    images = np.full((40, 3, 4, 4), 0.5, np.float32)
    shown = {}
    for signed in (True, False):
        recorder = Recorder()
        fourier_heatmap(recorder, images, [0] * 40, random_sign=signed, **settings)
        parts, rest, start = [], np.concatenate(recorder.seen), 0
        for count in (16, 16, 8):  # shards: clean images, then each frequency added to all of them
            parts.append(rest[start + count : start + 11 * count].reshape(10, count, 3, 4, 4) - 0.5)
            start += 11 * count
        shown[signed] = np.concatenate(parts, axis=1)
    signs = np.sign((shown[True] * shown[False]).sum(axis=(3, 4)))
    assert (signs == signs[0]).all()
    assert np.allclose(shown[True], signs[..., None, None] * shown[False], atol=1e-6)
    wanted = [1 - 2 * generator(5, "heatmap/sign", i).integers(0, 2, 3) for i in range(40)]
    assert np.array_equal(signs[0], wanted)
    assert len(np.unique(signs[0], axis=0)) == 8


def test_random_phases_differ_between_images_and_hang_on_no_sub_grid() -> None:
    images = np.full((2, 1, 8, 8), 0.5, np.float32)
    seen = []
    for frequencies in (None, [[1, 2]]):
        recorder = Recorder()
        fourier_heatmap(
            recorder, images, [0, 0], phase="random", clip=False, random_sign=False, frequencies=frequencies
        )
        place = 0 if frequencies else frequency_index((8, 8))[4 + 1, 4 + 2]
        seen.append(recorder.added(2)[2 * place : 2 * place + 2])
    assert np.array_equal(seen[0], seen[1])
    assert not np.allclose(seen[0][0], seen[0][1], atol=1e-2)


def test_clipping_is_after_the_addition() -> None:
    recorder = Recorder()
    fourier_heatmap(recorder, np.full((1, 1, 8, 8), 0.9, np.float32), [0], l2_norm_per_channel=4)
    shown = np.concatenate(recorder.seen)
    assert shown.min() >= 0
    assert shown.max() == 1
    recorder = Recorder()
    fourier_heatmap(recorder, np.full((1, 1, 8, 8), 0.9, np.float32), [0], clip=False)
    assert np.concatenate(recorder.seen).max() > 1


# Known answers


@pytest.mark.parametrize("r0", [2, 4.5])
@pytest.mark.parametrize("phase", ["0", "45", "random", "worst-of-two"])
def test_frequencies_that_a_classifier_cannot_see_change_nothing(r0: float, phase: Any) -> None:
    shape = (12, 12)
    inner, images, labels = labelled((3, *shape), 25)
    blind = LowPass(inner, shape, r0)
    result = fourier_heatmap(blind, images, labels, l2_norm_per_channel=4, phase=phase, clip=False)
    outside = radius(shape) >= r0
    assert 0 < result.clean_error_rate < 1
    assert (result.error_rate[outside] == result.clean_error_rate).all()
    assert np.abs(result.loss_increase[outside]).max() < 1e-5
    assert result.error_rate[~outside].mean() > result.clean_error_rate
    assert np.abs(result.loss_increase[~outside]).min() > 1e-3


def straightforward(classifier: Layered, images: Any, labels: Any, added: Any, *, clip: bool) -> Any:
    """Error rate and mean loss of the images with ``added`` on them."""
    perturbed = images.astype(np.float64) + added
    logits = classifier.logits(perturbed.clip(0, 1) if clip else perturbed)
    loss = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    return (logits.argmax(axis=1) != labels).mean(), loss.mean()


@pytest.mark.parametrize("shape", [(8, 8), (6, 7)])
@pytest.mark.parametrize("norm", [1, 6])
def test_the_official_code_is_a_setting(shape: tuple[int, int], norm: float) -> None:
    """Half of 1 + i at k and its conjugate at -k, of a centred spectrum; one image for both cells."""
    classifier, images, labels = labelled((3, *shape))
    height, width = shape
    error, loss = np.full(shape, np.nan), np.full(shape, np.nan)
    clean = straightforward(classifier, images, labels, 0, clip=False)
    for i in range(height):
        for j in range(width):
            mirror = (2 * (height // 2) - i) % height, (2 * (width // 2) - j) % width
            if mirror < (i, j):
                error[i, j], loss[i, j] = error[mirror], loss[mirror]
                continue
            spectrum = np.zeros(shape, complex)
            spectrum[i, j] = 0.5 + 0.5j
            spectrum[mirror] = 1 if mirror == (i, j) else 0.5 - 0.5j
            basis = np.sqrt(height * width) * np.fft.ifft2(np.fft.ifftshift(spectrum)).real
            assert np.isclose(np.linalg.norm(basis), 1)
            error[i, j], loss[i, j] = straightforward(classifier, images, labels, norm * basis, clip=False)
    result = fourier_heatmap(classifier, images, labels, l2_norm_per_channel=norm, **GOOGLE)
    assert np.array_equal(result.error_rate, error)
    assert np.allclose(result.loss_increase, loss - clean[1], atol=1e-5)
    assert result.clean_error_rate == clean[0]


@pytest.mark.parametrize("shape", [(8, 8), (6, 10)])
def test_the_other_public_code_is_the_default(shape: tuple[int, int]) -> None:
    """The inverse of one entry of a half plane, scaled to unit norm; signs by image and channel; clipped."""
    classifier, images, labels = labelled((3, *shape), 24)
    signs = np.stack([1 - 2 * generator(0, "heatmap/sign", i).integers(0, 2, 3) for i in range(24)])
    height, width = shape
    error = np.full(shape, np.nan)
    for f_y in range(height):
        for f_x in range(width // 2 + 1):
            half = np.zeros((height, width // 2 + 1), complex)
            half[f_y, f_x] = 1
            basis = np.fft.irfft2(half, s=shape)
            added = 4 * signs[:, :, None, None] * basis / np.linalg.norm(basis)
            rate, _ = straightforward(classifier, images, labels, added, clip=True)
            for sign in (1, -1):
                error[(sign * f_y + height // 2) % height, (sign * f_x + width // 2) % width] = rate
    assert np.array_equal(fourier_heatmap(classifier, images, labels).error_rate, error)


def test_worst_of_two_is_the_worse_of_its_phases_image_by_image() -> None:
    classifier, images, labels = labelled((1, 8, 8))
    both = fourier_heatmap(classifier, images, labels, phase="worst-of-two")
    one = fourier_heatmap(classifier, images, labels, phase="0")
    assert (both.error_rate >= one.error_rate).all()
    assert (both.loss_increase >= one.loss_increase).all()
    assert (both.error_rate > one.error_rate).any()
    for f_y, f_x in ((0, 0), (-4, 0), (0, -4), (-4, -4)):  # one image, whatever the phase
        assert both.error_rate[f_y + 4, f_x + 4] == one.error_rate[f_y + 4, f_x + 4]


def test_intervals_are_wilson_s_and_normal() -> None:
    classifier, images, labels = labelled((1, 6, 6), 30)
    result = fourier_heatmap(classifier, images, labels, confidence=0.9)
    for rate, (low, high) in zip(
        result.error_rate.ravel(), result.error_rate_interval.reshape(-1, 2), strict=True
    ):
        wanted = binomtest(round(rate * 30), 30).proportion_ci(0.9, method="wilson")
        assert np.allclose([low, high], [wanted.low, wanted.high], atol=1e-9)
    assert result.clean_error_rate_interval == wilson_interval(result.clean_errors, 30, confidence=0.9)
    middle = result.loss_increase_interval.mean(axis=-1)
    assert np.allclose(middle, result.loss_increase)
    width = result.loss_increase_interval[..., 1] - result.loss_increase_interval[..., 0]
    assert np.allclose(width, 2 * 1.6448536 * result.of_cells(result.loss_increase_std) / np.sqrt(29))


@pytest.mark.parametrize("variant", ["low", "mid", "high", "low_high"])
def test_planted_bands_show_up(variant: str) -> None:
    folder = ROOT / "models" / "bands"
    facts = json.loads((folder / "bands.json").read_text())["variants"][variant]
    with np.load(folder / f"{variant}.npz") as file:
        source = ArraySource(file["images"], file["labels"])
    result = fourier_heatmap(
        specprobe.load(folder / f"{variant}.onnx"), source, limit=8, l2_norm_per_channel=2, batch_size=64
    )
    rho = radius((32, 32))
    inside = np.zeros((32, 32), bool)
    for low, high in facts["planted_bands"]:
        inside |= (rho >= low) & (rho < high)
    assert result.loss_increase[inside].mean() > 4 * np.abs(result.loss_increase[~inside]).mean()
    assert result.error_rate[inside].mean() > 2 * result.error_rate[~inside].mean()


@pytest.mark.assets
@pytest.mark.slow
def test_a_fragile_network_breaks_at_single_frequencies(assets: Path) -> None:
    recipe = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    network = specprobe.load(assets / "models" / "cifar10_akamaster_resnet20.onnx", preprocessing=recipe)
    with np.load(assets / "data" / "cifar10_lossless_test.npz") as file:
        source = ArraySource(file["images"][:4], file["labels"][:4])
    result = fourier_heatmap(network, source)
    assert result.model_evaluations == 4 * 515
    assert result.error_rate.mean() > result.clean_error_rate + 0.3
    google = fourier_heatmap(network, source, l2_norm_per_channel=1, frequencies=9, **GOOGLE)
    assert google.model_evaluations == 4 * 42


# The same bits, wherever it is computed


def test_results_do_not_hang_on_the_batch_size() -> None:
    classifier, images, labels = labelled((3, 6, 6), HEATMAP_SHARD_IMAGES + 5)
    for phase in ("0", "random", "worst-of-two"):
        wanted = fourier_heatmap(classifier, images, labels, phase=phase)
        for size in (1, 7, 64, 10_000):
            assert fourier_heatmap(classifier, images, labels, phase=phase, batch_size=size) == wanted


def test_array_libraries_agree(placed: Callable[[Any], Any]) -> None:
    classifier, images, labels = labelled((3, 6, 7))
    for phase in ("0", "45", "random", "worst-of-two"):
        wanted = fourier_heatmap(classifier, images, labels, phase=phase)
        found = fourier_heatmap(classifier, placed(images), placed(labels), phase=phase)
        assert np.array_equal(found.errors, wanted.errors)
        assert np.allclose(found.mean_loss_increase, wanted.mean_loss_increase, atol=1e-6)


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Any]:
    with np.load(ROOT / "models" / "digits" / "test.npz") as file:
        source = ArraySource(file["images"][:40], file["labels"][:40])
    return specprobe.load(ROOT / "models" / "digits" / "normal.onnx", threads=1), source


def test_threads_give_the_same_bits(digits: tuple[Any, Any]) -> None:
    wanted = fourier_heatmap(*digits, l2_norm_per_channel=1, first_order=True)
    with ThreadPoolExecutor(2) as executor:
        found = fourier_heatmap(*digits, l2_norm_per_channel=1, first_order=True, executor=executor)
    assert found == wanted


@pytest.mark.slow
def test_processes_give_the_same_bits(digits: tuple[Any, Any]) -> None:
    settings: dict[str, Any] = {"l2_norm_per_channel": 1, "phase": "random", "frequencies": 4}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        found = fourier_heatmap(*digits, executor=executor, **settings)
    assert found == fourier_heatmap(*digits, **settings)


def test_interrupted_runs_resume_to_the_same_bits(tmp_path: Path) -> None:
    classifier, images, labels = labelled((1, 6, 6), 40)
    wanted = fourier_heatmap(classifier, images, labels)

    class Tired(Layered):
        left = 60

        def logits(self, images: Any, /) -> Any:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().logits(images)

    path = tmp_path / "partial.npz"
    with pytest.raises(KeyboardInterrupt):
        fourier_heatmap(
            Tired((1, 6, 6)), images, labels, batch_size=8, checkpoint=Checkpoint(path=path, fingerprint="f")
        )
    done: list[int] = []
    found = fourier_heatmap(
        classifier,
        images,
        labels,
        batch_size=8,
        checkpoint=Checkpoint(path=path, fingerprint="f", resume=True),
        progress=done.append,
    )
    assert done == [16, 32, 40]
    assert found == wanted


def test_memory_holds_a_few_batches_not_all_additions() -> None:
    """Two images of 64 × 64, 2050 frequencies: all additions at once would take 200 MB."""

    class Cheap(Recorder):
        def logits(self, images: Any, /) -> Any:
            return images[:, 0, 0, :3]

    images = pictures(2, (3, 64, 64))
    tracemalloc.start()
    try:
        fourier_heatmap(Cheap(), images, [0, 1], batch_size=32)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20e6


# Sub-grids


@pytest.mark.parametrize("shape", [(8, 8), (7, 9)])
@pytest.mark.parametrize("side", [1, 3, 5])
def test_a_central_square_is_the_middle_of_the_map(shape: tuple[int, int], side: int) -> None:
    classifier, images, labels = labelled((1, *shape), 5)
    whole = fourier_heatmap(classifier, images, labels)
    part = fourier_heatmap(classifier, images, labels, frequencies=side)
    middle = tuple(slice(n // 2 - side // 2, n // 2 + side // 2 + 1) for n in shape)
    assert np.array_equal(part.error_rate[middle], whole.error_rate[middle])
    assert np.isfinite(part.error_rate).sum() == side * side
    assert part.frequencies_evaluated == (side * side + 1) // 2
    assert part.model_evaluations == 5 * (1 + part.frequencies_evaluated)
    assert [finding.code for finding in part.findings if finding.code == "sub-grid"] == ["sub-grid"]


def test_a_square_of_the_whole_size_is_the_whole_map() -> None:
    classifier, images, labels = labelled((1, 6, 8), 4)
    assert fourier_heatmap(classifier, images, labels, frequencies=8) == fourier_heatmap(
        classifier, images, labels
    )


def test_listed_frequencies_stand_for_their_conjugates() -> None:
    classifier, images, labels = labelled((1, 8, 8), 5)
    result = fourier_heatmap(classifier, images, labels, frequencies=[[1, 2], [-1, -2], [0, 3]])
    assert np.argwhere(np.isfinite(result.error_rate)).tolist() == [[3, 2], [4, 1], [4, 7], [5, 6]]
    assert result.model_evaluations == 5 * 3


@pytest.mark.parametrize(
    ("frequencies", "message"),
    [
        (0, "the side of the sub-grid is 0; accepted are whole numbers from 1 to 8"),
        (9, "the side of the sub-grid is 9"),
        ([[1, 4]], r"frequency \(f_y, f_x\) = \(1, 4\) lies outside images of height 8 and width 8"),
        (
            [1, 2],
            r"of int64 and shape \(2,\); accepted are one whole number, or whole numbers of shape \(M, 2\)",
        ),
        ([[0.5, 1]], "the frequencies are of float64"),
        (np.zeros((0, 2), int), r"shape \(0, 2\)"),
    ],
)
def test_other_sub_grids_are_refused(frequencies: Any, message: str) -> None:
    with pytest.raises(InputMismatch, match=message):
        fourier_heatmap(Recorder(), np.full((1, 1, 8, 8), 0.5), [0], frequencies=frequencies)


# Labels, and what is refused


def test_without_labels_errors_are_changed_answers() -> None:
    classifier, images, _ = labelled((1, 6, 6))
    result = fourier_heatmap(classifier, images)
    assert (result.target, result.clean_error_rate, result.accuracy) == ("predicted", 0, None)
    assert result.error_rate.max() > 0
    predicted = classifier.logits(images).argmax(axis=1)
    assert np.array_equal(fourier_heatmap(classifier, images, predicted).errors, result.errors)
    assert [finding.code for finding in result.findings] == ["no-labels"]


def test_predicted_classes_may_be_asked_for_beside_labels() -> None:
    classifier, images, labels = labelled((1, 6, 6))
    result = fourier_heatmap(classifier, images, labels, target="predicted")
    assert np.array_equal(result.errors, fourier_heatmap(classifier, images).errors)
    assert result.accuracy is not None
    assert result.accuracy.correct == (classifier.logits(images).argmax(axis=1) == labels).sum()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; accepted are whole numbers from 1"),
        ({"sample": 0}, "sample is 0"),
        ({"phase": "90"}, "phase is '90'; accepted are '0', '45', 'random', 'worst-of-two'"),
        ({"l2_norm_per_channel": 0}, "l2_norm_per_channel is 0; accepted are numbers above 0"),
        ({"l2_norm_per_channel": np.nan}, "l2_norm_per_channel is nan"),
        ({"target": "best"}, "target is 'best'"),
    ],
)
def test_other_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fourier_heatmap(Recorder(), np.full((1, 1, 8, 8), 0.5), [0], **settings)


def test_labels_that_do_not_fit_are_refused() -> None:
    images = np.full((2, 1, 4, 4), 0.5)
    with pytest.raises(DataError, match="label 3 of image 1 is no class of the model"):
        fourier_heatmap(Recorder(), images, [0, 3])
    with pytest.raises(DataError, match="the images have no labels"):
        fourier_heatmap(Recorder(), images, target="true")
    with pytest.raises(InputMismatch, match="labels are given beside a source of images"):
        fourier_heatmap(Recorder(), ArraySource(images, [0, 1]), [0, 1])
    with pytest.raises(EmptyInput):
        fourier_heatmap(Recorder(), images, [0, 1], limit=0)


def test_sources_that_lose_labels_or_images_are_found_out() -> None:
    class Lossy(ArraySource):
        kept = 0

        def read(self, start: int, stop: int, /) -> Batch:
            batch = super().read(start, stop)
            return replace(batch, images=batch.images[: self.kept], labels=None)

    source = Lossy(np.full((2, 1, 4, 4), 0.5), [0, 1])
    with pytest.raises(EmptyInput, match="there are no images to analyse"):
        fourier_heatmap(Recorder(), source)
    source.kept = 2
    with pytest.raises(DataError, match="the images have no labels"):
        fourier_heatmap(Recorder(), source)


def test_numbers_that_are_none_name_image_and_frequency() -> None:
    class Breaks(Recorder):
        """At bright images: as they are, or with something added."""

        def __init__(self, *, clean: bool) -> None:
            super().__init__()
            self.clean = clean

        def logits(self, images: Any, /) -> Any:
            flat = images.reshape(len(images), -1)
            broken = (abs(flat.mean(axis=1) - 0.75) < 1e-3) & (self.clean | (np.ptp(flat, axis=1) > 1e-3))
            return np.where(broken[:, None], np.inf, np.zeros((len(images), 3)))

    images = np.concatenate([np.full((17, 1, 4, 4), 0.5), np.full((3, 1, 4, 4), 0.75)]).astype(np.float32)
    with pytest.raises(InvalidNumbers, match="the logits of image 17 are NaN or infinite"):
        fourier_heatmap(Breaks(clean=True), images, [0] * 20, l2_norm_per_channel=0.5)
    message = r"the logits of image 17 with frequency \(f_y, f_x\) = \(-1, 1\) added are NaN or infinite"
    with pytest.raises(InvalidNumbers, match=message):
        fourier_heatmap(Breaks(clean=False), images, [0] * 20, l2_norm_per_channel=0.5, frequencies=[[1, -1]])


# Results


def a_result(**settings: Any) -> FourierHeatmap:
    classifier, images, labels = labelled((1, 5, 6), 20)
    return fourier_heatmap(classifier, images, labels, **settings)


def test_parts_merge_to_the_whole() -> None:
    classifier, images, labels = labelled((1, 6, 6), 40)
    source = ArraySource(images, labels)
    whole = fourier_heatmap(classifier, source)
    part = fourier_heatmap(classifier, source, limit=16)
    assert whole.images == 40
    assert whole.model_evaluations == 40 * 21
    assert whole.image_digest is not None
    assert np.array_equal(whole.image_digest, source.read(0, 40).digests)
    assert part.image_error_rate is not None
    assert whole.image_error_rate is not None
    assert np.array_equal(part.image_error_rate, whole.image_error_rate[:16])
    assert np.isclose(whole.image_error_rate.mean(), whole.error_rate.mean())
    assert whole.image_loss_increase is not None
    assert np.isclose(whole.image_loss_increase.mean(), whole.loss_increase.mean())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"l2_norm_per_channel": 2}, "l2_norm_per_channel is 4.0 here and 2.0 there"),
        ({"phase": "45"}, "basis_phase is 0 here and 45 there"),
        ({"clip": False}, "clip is True here and False there"),
        ({"seed": 1}, "seed is 0 here and 1 there"),
        ({"frequencies": 3}, "the results are of different frequencies"),
    ],
)
def test_other_settings_do_not_merge(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputMismatch, match=message):
        a_result().merge(a_result(**settings))


@pytest.mark.parametrize(
    "settings", [{}, {"phase": "worst-of-two"}, {"frequencies": 3}, {"limit": 1}, {"target": "predicted"}]
)
def test_results_come_back_from_files(settings: dict[str, Any]) -> None:
    result = a_result(**settings)
    content = json.loads(dump_json(document(result)))
    found = from_document(content)
    assert found.to_dict() == result.to_dict() == content["result"]
    none: dict[str, Any] = dict.fromkeys(PER_IMAGE)
    assert found == replace(result, **none)
    assert unpack(*pack(result)) == result
    assert pickle.loads(pickle.dumps(result)) == result


def test_documents_hold_the_promised_names() -> None:
    content = a_result().to_dict()
    assert a_result().kind == "fourier_heatmap"
    assert {
        *("l2_norm_per_channel", "basis_phase", "clip", "error_rate", "loss_increase", "clean_error_rate"),
        *("images", "model_evaluations", "error_rate_interval", "loss_increase_interval"),
        "clean_error_rate_interval",
    } <= content.keys()
    assert np.shape(content["error_rate"]) == np.shape(content["loss_increase"]) == (5, 6)
    assert np.shape(content["error_rate_interval"]) == (5, 6, 2)
    assert content["derivative_rms"] is content["flip_probability"] is content["rank_correlation"] is None


def test_arrays_of_a_result() -> None:
    arrays = a_result().arrays()
    assert arrays["error_rate"].shape == (5, 6)
    assert arrays["image_error_rate"].shape == arrays["correct"].shape == (20,)
    assert arrays["digest"].shape == (20, 16)
    assert not {"derivative_rms", "flip_probability"} & arrays.keys()
    assert from_document(document(a_result())).arrays().keys() < arrays.keys()


def test_maps_are_equal_at_opposite_frequencies() -> None:
    result = a_result(phase="45")
    for values in (result.error_rate, result.loss_increase):
        rolled = np.roll(values[::-1, ::-1], (1 - 5 % 2, 1 - 6 % 2), axis=(0, 1))
        assert np.array_equal(values, rolled)


def test_impossible_counts_are_refused() -> None:
    result = a_result()
    with pytest.raises(ValueError, match="counts of 20 images"):
        replace(result, clean_errors=21)
    with pytest.raises(ValueError, match="counts of 20 images"):
        replace(result, errors=result.errors - 100)
    with pytest.raises(ValueError, match="values by frequency have shapes"):
        replace(result, evaluated=result.evaluated[:-1])
    content = result.to_dict()
    with pytest.raises(DataError, match="a map has shape"):
        from_document({**document(result), "result": content | {"error_rate": content["error_rate"][1:]}})


def test_results_equal_no_other_things() -> None:
    assert a_result() != 1
    with pytest.raises(TypeError):
        hash(a_result())


def test_one_image_has_no_spread() -> None:
    result = a_result(limit=1)
    assert "one-image" in [finding.code for finding in result.findings]
    assert np.isnan(result.loss_increase_interval).all()
    assert np.asarray(to_host(result.error_rate)).max() <= 1
