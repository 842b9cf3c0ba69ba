"""Sensitivity by frequency, on classifiers whose gradients are known."""

import dataclasses
import json
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import reduce
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import specprobe
from specprobe.analysis.sensitivity import FourierSensitivity, fourier_sensitivity
from specprobe.errors import DataError, EmptyInput, InputMismatch, InvalidNumbers
from specprobe.results import document, dump_json, from_document, pack, unpack
from specprobe.spectral.grid import radius, rings
from specprobe.spectral.masks import low_pass
from specprobe.streaming import Checkpoint

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (3, 12, 12)

close: Any = np.testing.assert_allclose
same: Any = np.array_equal
"""Of fields that may be None, which would fail as it should."""


class Textured:
    """The gradient of each image is the texture of its class times (1 + image): known, and of any array library."""

    def __init__(
        self, shape: tuple[int, int, int] = SHAPE, classes: int = 5, zero: float | None = None
    ) -> None:
        self.classes = classes
        self.textures = np.random.default_rng(0).normal(size=(classes, *shape)).astype(np.float32)
        self.zero = zero

    def logits(self, images: Any, /) -> Any:
        return images[:, 0, 0, : self.classes]

    def gradient(
        self, images: Any, labels: Any, /, *, loss: str = "cross-entropy", targets: Any = None
    ) -> Any:
        from specprobe.arrays import like, to_host

        gradients = self.textures[to_host(labels)] * (1 + to_host(images))
        if self.zero is not None:
            gradients[to_host(images)[:, 0, 1, 0] == np.float32(self.zero)] = 0
        return like(gradients[:, 0, 0, 0].copy(), images), like(gradients, images)

    def vjp(self, images: Any, cotangent: Any, /) -> Any:
        raise NotImplementedError


def pictures(count: int, shape: tuple[int, int, int] = SHAPE, seed: int = 1) -> Any:
    return np.random.default_rng(seed).random((count, *shape), dtype=np.float32)


def labels(count: int, classes: int = 5) -> Any:
    return np.random.default_rng(2).integers(0, classes, count)


def gradients_of(classifier: Textured, images: Any, classes: Any) -> Any:
    return np.asarray(classifier.gradient(images, np.asarray(classes))[1], np.float64)


def profiles(planes: Any) -> Any:
    """Ring shares (N, R) of gradients (N, C, H, W), the slow way: full FFT, one mask a ring."""
    height, width = planes.shape[-2:]
    spectrum = np.fft.fftshift(np.fft.fft2(planes, norm="ortho"), axes=(-2, -1))
    power = (np.abs(spectrum) ** 2).mean(axis=1)
    ring = rings((height, width))
    sums = np.stack([power[:, ring == r].sum(axis=1) for r in range(1, ring.max() + 1)], axis=1)
    return sums / sums.sum(axis=1, keepdims=True)


# What is computed


@pytest.mark.parametrize("shape", [(3, 12, 12), (1, 9, 14), (4, 7, 7)])
def test_profile_is_the_mean_of_the_images_profiles(shape: tuple[int, int, int]) -> None:
    classifier, images, classes = Textured(shape), pictures(70, shape), labels(70)
    result = fourier_sensitivity(classifier, images, classes)
    wanted = profiles(gradients_of(classifier, images, classes))
    close(result.power_share, wanted.mean(axis=0), rtol=1e-5)
    close(result.power_share_std, wanted.std(axis=0), rtol=1e-4)
    third, sixth = min(shape[1:]) // 3, min(shape[1:]) // 6
    close(result.image_low_share, wanted[:, :sixth].sum(axis=1), rtol=1e-5, atol=1e-9)
    close(result.image_mid_share, wanted[:, sixth:third].sum(axis=1), rtol=1e-5)
    close(result.image_high_share, wanted[:, third:].sum(axis=1), rtol=1e-5)
    assert result.low_share + result.mid_share + result.high_share == pytest.approx(1)
    entropy = -(wanted * np.log2(wanted)).sum(axis=1)
    assert result.spectral_entropy_bits == pytest.approx(entropy.mean(), rel=1e-6)
    assert result.spectral_entropy_bits_std == pytest.approx(entropy.std(), rel=1e-4)
    centroid = (wanted * result.cycles_per_image).sum(axis=1)
    close(result.image_centroid_cycles_per_image, centroid, rtol=1e-6)
    assert result.images == 70
    assert result.dropped == 0


def test_mean_before_is_the_published_definition() -> None:
    """Mean of the channels, zeros behind odd sides, unitary FFT, ring sums from 1 to the corner, each image to 1."""
    shape = (3, 9, 11)
    classifier, images, classes = Textured(shape), pictures(20, shape), labels(20)
    result = fourier_sensitivity(classifier, images, classes, channels="mean_before")
    mean = gradients_of(classifier, images, classes).mean(axis=1, keepdims=True)
    wanted = profiles(np.pad(mean, ((0, 0), (0, 0), (0, 1), (0, 1))))
    assert result.map_shape == (10, 12)
    close(result.power_share, wanted.mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize("basis", ["fourier", "dct", "hadamard", "haar"])
@pytest.mark.parametrize("channels", ["power", "mean_before"])
def test_map_and_profile_say_the_same(basis: str, channels: Any) -> None:
    shape = (3, 16, 16)
    result = fourier_sensitivity(
        Textured(shape), pictures(70, shape), labels(70), basis=basis, channels=channels
    )
    assert result.power_map is not None
    assert result.power_map.shape == result.map_shape == (16, 16)
    from specprobe.spectral.transforms import TRANSFORMS

    ring = TRANSFORMS[basis].rings((16, 16))
    assert result.power_map[ring == 0].tolist() == [0]
    assert result.power_map.sum() == pytest.approx(1, abs=1e-6)
    assert result.power_share.sum() == pytest.approx(1, abs=1e-6)
    found = np.bincount(ring.ravel(), result.power_map.ravel())[1:]
    close(found, result.power_share, atol=1e-6)
    assert result.white_noise_share.sum() == pytest.approx(1)
    assert (result.angular_share is None) == (basis != "fourier")
    if result.angular_share is not None:
        assert result.angular_share.sum() == pytest.approx(1, abs=1e-6)
        assert result.white_noise_angular_share is not None
        assert result.white_noise_angular_share.sum() == pytest.approx(1)


def test_one_wave_is_one_ring_one_direction_and_two_cells() -> None:
    """Upright stripes of three cycles: ring 3, direction 0°, cells (0, 3) and (0, −3)."""
    classifier = Textured((1, 16, 16), classes=1)
    classifier.textures[:] = np.cos(2 * np.pi * 3 * np.arange(16) / 16)
    images = np.zeros((3, 1, 16, 16), np.float32)
    result = fourier_sensitivity(classifier, images, [0, 0, 0])
    assert result.power_share[2] == pytest.approx(1, abs=1e-10)
    assert result.angular_share is not None
    assert result.angle_degrees is not None
    assert result.angle_degrees[result.angular_share.argmax()] == 0
    assert result.power_map is not None
    close(result.power_map[8, [5, 11]], 0.5, atol=1e-6)
    assert result.centroid_cycles_per_image == pytest.approx(3)
    assert result.spectral_entropy_bits == pytest.approx(0, abs=1e-6)


def test_opposite_colours_cancel_only_where_channels_are_averaged_first() -> None:
    classifier = Textured((3, 8, 8), classes=1)
    wave = np.cos(2 * np.pi * np.arange(8) / 8)
    classifier.textures[0, 0] = wave
    classifier.textures[0, 1] = -wave
    classifier.textures[0, 2] = 0
    images = np.zeros((2, 3, 8, 8), np.float32)
    assert fourier_sensitivity(classifier, images, [0, 0]).dropped == 0
    with pytest.raises(InvalidNumbers, match="none of the 2 images has a gradient"):
        fourier_sensitivity(classifier, images, [0, 0], channels="mean_before")


def test_the_size_of_gradients_does_not_matter() -> None:
    classifier = Textured()
    result = fourier_sensitivity(classifier, pictures(10), labels(10))
    classifier.textures *= np.float32(1e-30)
    tiny = fourier_sensitivity(classifier, pictures(10), labels(10))
    close(tiny.power_share, result.power_share, rtol=1e-5)
    close(tiny.image_gradient_l2_norm, 1e-30 * np.asarray(result.image_gradient_l2_norm), rtol=1e-5)


# Oracles on models in ONNX


def save(path: Path, text: str, **tensors: Any) -> Path:
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')
    for name, array in tensors.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize(("loss", "classes"), [("logit", 6), ("margin", 2), ("cross-entropy", 2)])
def test_a_linear_model_has_the_profile_of_its_weights(tmp_path: Path, loss: str, classes: int) -> None:
    weight = np.random.default_rng(0).normal(size=(3 * 16 * 16, classes)).astype(np.float32) / 50
    path = save(
        tmp_path / "m.onnx",
        f"g (float[N, 3, 16, 16] x) => (float[N, {classes}] y) {{ f = Flatten (x) y = MatMul (f, w) }}",
        w=weight,
    )
    result = fourier_sensitivity(specprobe.load(path), pictures(80, (3, 16, 16)), [1] * 80, loss=loss)
    read = weight[:, 1] if loss == "logit" else weight[:, 1] - weight[:, 0]
    wanted = profiles(read.astype(np.float64).reshape(1, 3, 16, 16))[0]
    close(result.power_share, wanted, rtol=1e-4)
    assert np.all(result.power_share_std < 1e-6)  # no image differs from another
    assert result.dropped == 0


@pytest.mark.parametrize(("bare", "cutoff"), [("mid", 5), ("high", 9), ("low", 12)])
def test_behind_a_low_pass_no_ring_beyond_it_has_a_share(tmp_path: Path, bare: str, cutoff: int) -> None:
    """f(P x) has the gradient P g: below 1e-10 from ring cutoff + 1 on, whatever f does."""
    delta = np.eye(32 * 32).reshape(-1, 32, 32)
    spectrum = np.fft.fftshift(np.fft.fft2(delta), axes=(-2, -1)) * low_pass((32, 32), cutoff=cutoff)
    projection = np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(-2, -1))).real.reshape(1024, 1024)
    front = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> g (float[N, 3, 32, 32] x) => (float[N, 3, 32, 32] z) '
        "{ f = Reshape (x, flat) p = MatMul (f, projection) z = Reshape (p, square) }"
    )
    for name, array in (
        ("flat", np.array([0, 3, 1024], np.int64)),
        ("square", np.array([0, 3, 32, 32], np.int64)),
        ("projection", projection.astype(np.float32)),
    ):
        front.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    model = onnx.load(ROOT / "models" / "bands" / f"{bare}.onnx")
    front.ir_version, front.opset_import[0].version = model.ir_version, model.opset_import[0].version
    joined = onnx.compose.merge_models(
        onnx.compose.add_prefix(front, "front_"), model, [("front_z", model.graph.input[0].name)]
    )
    onnx.save(joined, tmp_path / "joined.onnx")
    images = specprobe.load_images(ROOT / "models" / "bands" / f"{bare}.npz")
    result = fourier_sensitivity(specprobe.load(tmp_path / "joined.onnx"), images, limit=40, loss="margin")
    assert result.power_share[cutoff:].max() < 1e-10  # entry i is of ring i + 1
    assert result.power_share[: cutoff - 1].sum() > 0.5
    assert result.power_map is not None
    assert result.power_map[radius((32, 32)) >= cutoff].max() < 1e-10


@pytest.mark.parametrize("variant", ["low", "mid", "high", "low_high"])
def test_planted_bands_carry_the_share(variant: str) -> None:
    """The shares that models/bands lists were measured by another framework."""
    folder = ROOT / "models" / "bands"
    listed = json.loads((folder / "bands.json").read_text(encoding="utf-8"))["variants"][variant]
    network = specprobe.load(folder / f"{variant}.onnx")
    result = fourier_sensitivity(network, specprobe.load_images(folder / f"{variant}.npz"))
    assert result.power_map is not None
    rho = radius((32, 32))
    for band in listed["per_band"]:
        low, high = band["band"]
        share = float(result.power_map[(rho >= low) & (rho < high)].sum())
        assert share == pytest.approx(band["gradient_share"], abs=1e-4)
        assert share > 0.19 if band["planted"] else share < 0.01
    assert result.accuracy is not None
    assert result.accuracy.accuracy == pytest.approx(listed["accuracy"])


@pytest.mark.assets
def test_reference_of_another_framework(assets: Path) -> None:
    images = specprobe.load_images(assets / "data" / "cifar10_lossless_test.npz", limit=200)
    network = specprobe.load(
        assets / "models" / "cifar10_ada_resnet4b_standard.onnx", image_shape=images.image_shape
    )
    result = fourier_sensitivity(network, images, channels="mean_before")
    assert result.accuracy is not None
    assert round(result.accuracy.accuracy, 3) == 0.810
    assert result.cycles_per_image[result.power_share.argmax()] == 13
    assert round(float(result.power_share.max()), 4) == 0.1091
    assert round(float(result.power_share[:5].sum()), 3) == round(result.low_share, 3) == 0.031
    assert round(float(result.power_share[10:].sum()), 3) == round(result.high_share, 3) == 0.720


# Libraries, executors, shards


@pytest.mark.parametrize("basis", ["fourier", "dct", "hadamard", "haar"])
def test_every_library_gives_the_same(placed: Callable[[Any], Any], basis: str) -> None:
    shape = (3, 16, 16)
    there = fourier_sensitivity(Textured(shape), placed(pictures(70, shape)), labels(70), basis=basis)
    here = fourier_sensitivity(Textured(shape), pictures(70, shape), labels(70), basis=basis)
    close(there.power_share, here.power_share, rtol=1e-5, atol=1e-9)
    close(there.power_map, here.power_map, rtol=1e-4, atol=1e-8)
    close(there.image_gradient_l2_norm, here.image_gradient_l2_norm, rtol=1e-5)
    assert there.to_dict().keys() == here.to_dict().keys()
    assert there.centroid_cycles_per_image == pytest.approx(here.centroid_cycles_per_image, rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
def test_the_batch_size_changes_no_bit(batch_size: int) -> None:
    seen: list[int] = []
    result = fourier_sensitivity(
        Textured(), pictures(150), labels(150), batch_size=batch_size, progress=seen.append
    )
    assert seen == [64, 128, 150]
    assert result == fourier_sensitivity(Textured(), pictures(150), labels(150))


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Any]:
    folder = ROOT / "models" / "digits"
    images = specprobe.load_images(folder / "test.npz", limit=150)
    return specprobe.load(folder / "normal.onnx", image_shape=images.image_shape, threads=1), images


def test_threads_give_the_same_bits(digits: tuple[Any, Any]) -> None:
    with ThreadPoolExecutor(2) as executor:
        assert fourier_sensitivity(*digits, executor=executor) == fourier_sensitivity(*digits)


@pytest.mark.slow
def test_processes_give_the_same_bits(digits: tuple[Any, Any]) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        assert fourier_sensitivity(*digits, executor=executor) == fourier_sensitivity(*digits)


@pytest.mark.slow
def test_dask_gives_the_same_bits(digits: tuple[Any, Any]) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        executor = client.get_executor(pure=False)
        assert fourier_sensitivity(*digits, executor=executor) == fourier_sensitivity(*digits)


def test_an_interrupted_run_ends_in_the_same_bits(tmp_path: Path) -> None:
    def checkpoint(*, resume: bool) -> Checkpoint:
        return Checkpoint(path=tmp_path / "partial.npz", fingerprint="f", resume=resume)

    def stop(images: int) -> None:
        if images == 128:
            raise KeyboardInterrupt

    given_ = (Textured(zero=0.0), pictures(200), labels(200))
    with pytest.raises(KeyboardInterrupt):
        fourier_sensitivity(*given_, checkpoint=checkpoint(resume=False), progress=stop)
    seen: list[int] = []
    resumed = fourier_sensitivity(*given_, checkpoint=checkpoint(resume=True), progress=seen.append)
    assert seen == [128, 192, 200]
    assert resumed == fourier_sensitivity(*given_)


@settings(deadline=None, max_examples=20)
@given(st.sets(st.integers(1, 99), max_size=4))
def test_merging_does_not_depend_on_where_the_data_is_cut(cuts: set[int]) -> None:
    images, classes = pictures(100), labels(100)
    parts = [
        fourier_sensitivity(Textured(), images[a:b], classes[a:b])
        for a, b in pairwise([0, *sorted(cuts), 100])
    ]
    merged, whole = reduce(FourierSensitivity.merge, parts), fourier_sensitivity(Textured(), images, classes)
    close(merged.power_share, whole.power_share, rtol=1e-9)
    close(merged.power_share_std, whole.power_share_std, rtol=1e-6)
    close(merged.power_map, whole.power_map, rtol=1e-9)
    assert merged.accuracy == whole.accuracy
    assert same(merged.image_low_share, whole.image_low_share)
    assert same(merged.image_digest, whole.image_digest)


def test_what_one_part_has_not_kept_the_whole_has_not() -> None:
    one, other = (fourier_sensitivity(Textured(), pictures(3, seed=seed), labels(3)) for seed in (1, 2))
    read = FourierSensitivity.from_dict(other.to_dict())
    merged = one.merge(read)
    assert (merged.power_map, merged.image_low_share, merged.image_correct) == (None, None, None)
    assert merged.to_dict() == one.merge(other).to_dict()


def test_results_of_other_settings_are_not_merged() -> None:
    one, other = (
        fourier_sensitivity(Textured(), pictures(3), labels(3), channels=channels)
        for channels in ("power", "mean_before")
    )
    with pytest.raises(InputMismatch, match="channels is power here and mean_before there"):
        one.merge(other)


# Images without gradient, labels, chance


@pytest.mark.parametrize("number", [0.0, np.nan, np.inf])
def test_images_without_gradient_are_counted_and_left_out(number: float) -> None:
    images, classes = pictures(130), labels(130)
    images[[3, 70, 129], 0, 1, 0] = 0.5
    classifier = Textured(zero=0.5)

    class Spoilt(Textured):
        def gradient(self, images: Any, labels: Any, /, **settings: Any) -> Any:
            losses, gradients = classifier.gradient(images, labels)
            spoilt = images[:, 0, 1, 0] == np.float32(0.5)
            return losses, np.where(spoilt[:, None, None, None], np.float32(number), gradients)

    result = fourier_sensitivity(Spoilt(), images, classes)
    kept = np.delete(np.arange(130), [3, 70, 129])
    assert (result.images, result.dropped, result.averaged) == (130, 3, 127)
    wanted = profiles(gradients_of(Textured(), images[kept], classes[kept]))
    close(result.power_share, wanted.mean(axis=0), rtol=1e-5)
    assert result.power_map is not None
    assert result.power_map.sum() == pytest.approx(1, abs=1e-6)
    assert result.image_low_share is not None
    assert np.flatnonzero(np.isnan(result.image_low_share)).tolist() == [3, 70, 129]
    (finding,) = (finding for finding in result.findings if finding.code == "dropped-images")
    assert finding.message.startswith("3 of 130 images have no gradient (zero or not finite)")
    assert "--loss margin" in finding.message
    json.loads(dump_json(document(result)))


def test_a_shard_without_any_gradient_does_not_spoil_the_rest() -> None:
    images, classes = pictures(130), labels(130)
    images[:64, 0, 1, 0] = 0.5
    result = fourier_sensitivity(Textured(zero=0.5), images, classes)
    rest = fourier_sensitivity(Textured(), images[64:], classes[64:])
    assert result.dropped == 64
    close(result.power_share, rest.power_share, rtol=1e-9)
    close(result.power_map, rest.power_map, rtol=1e-9)


def test_without_any_gradient_there_is_no_result() -> None:
    images = pictures(3)
    images[:, 0, 1, 0] = 0.5
    with pytest.raises(InvalidNumbers, match=r"none of the 3 images has a gradient .* --loss margin has one"):
        fourier_sensitivity(Textured(zero=0.5), images, labels(3))


def test_the_target_is_recorded() -> None:
    images = pictures(8)
    answers = images[:, 0, 0, :5].argmax(axis=1)
    true = fourier_sensitivity(Textured(), images, (answers + 1) % 5)
    predicted = fourier_sensitivity(Textured(), images, (answers + 1) % 5, target="predicted")
    bare = fourier_sensitivity(Textured(), images)
    assert (true.target, predicted.target, bare.target) == ("true", "predicted", "predicted")
    assert true.accuracy is not None
    assert predicted.accuracy is not None
    assert (true.accuracy.correct, predicted.accuracy.correct, bare.accuracy) == (0, 0, None)
    assert same(predicted.power_share, bare.power_share)
    assert not same(true.power_share, bare.power_share)
    assert [finding.code for finding in bare.findings] == ["no-labels"]


def test_accuracy_at_chance_is_a_finding() -> None:
    images = pictures(60)
    answers = images[:, 0, 0, :5].argmax(axis=1)
    assert fourier_sensitivity(Textured(), images, answers).findings == ()
    (finding,) = fourier_sensitivity(Textured(), images, (answers + 1) % 5).findings
    assert finding.code == "chance-level"


def test_one_image_has_no_interval() -> None:
    result = fourier_sensitivity(Textured(), pictures(1), [0])
    content = result.to_dict()
    assert content["low_share_interval"] is content["power_share_interval"] is None
    assert "one-image" in [finding.code for finding in result.findings]
    json.loads(dump_json(document(result)))


# Settings


def test_settings_out_of_range_are_refused() -> None:
    images, classes = pictures(3), labels(3)
    with pytest.raises(ValueError, match="batch_size is 0; accepted are whole numbers from 1"):
        fourier_sensitivity(Textured(), images, classes, batch_size=0)
    with pytest.raises(ValueError, match=r"basis is 'wavelet'; accepted are fourier, dct, hadamard, haar"):
        fourier_sensitivity(Textured(), images, classes, basis="wavelet")
    with pytest.raises(ValueError, match=r"channels is 'mean'; accepted are 'power'"):
        fourier_sensitivity(Textured(), images, classes, channels="mean")  # type: ignore[arg-type]
    with pytest.raises(InputMismatch, match="accepted in the Hadamard basis are powers of two"):
        fourier_sensitivity(Textured(), images, classes, basis="hadamard")
    with pytest.raises(EmptyInput, match="there are no images to analyse"):
        fourier_sensitivity(Textured(), images, classes, limit=0)
    with pytest.raises(DataError, match="the images have no labels"):
        fourier_sensitivity(Textured(), images, target="true")
    with pytest.raises(ValueError, match="confidence is 2; accepted are"):
        fourier_sensitivity(Textured(), images, classes, confidence=2)


def test_limit_keeps_the_first_images() -> None:
    result = fourier_sensitivity(Textured(), pictures(10), labels(10), limit=4)
    assert result == fourier_sensitivity(Textured(), pictures(10)[:4], labels(10)[:4])


# The result


@pytest.fixture(scope="module", params=["labelled", "bare", "haar"])
def result(request: pytest.FixtureRequest) -> FourierSensitivity:
    classes = None if request.param == "bare" else labels(20)
    basis = "haar" if request.param == "haar" else "fourier"
    return fourier_sensitivity(Textured(), pictures(20), classes, basis=basis, confidence=0.9)


def test_results_survive_json(result: FourierSensitivity) -> None:
    content = json.loads(dump_json(document(result)))
    again = from_document(content)
    assert again.to_dict() == content["result"]
    bare: dict[str, Any] = {f.name: None for f in dataclasses.fields(result) if f.name.startswith("image_")}
    assert again == dataclasses.replace(result, power_map=None, **bare)


def test_results_survive_packing_and_pickling(result: FourierSensitivity) -> None:
    assert unpack(*pack(result)) == result
    assert pickle.loads(pickle.dumps(result)) == result
    assert result != dataclasses.replace(result, dropped=1)
    assert result != result.to_dict()
    with pytest.raises(TypeError, match="unhashable"):
        hash(result)


def test_every_estimate_has_an_interval_around_it(result: FourierSensitivity) -> None:
    content = result.to_dict()
    estimates = [name.removesuffix("_interval") for name in content if name.endswith("_interval")]
    spread = [name.removesuffix("_std") for name in content if name.endswith("_std")]
    assert set(estimates) == {*spread, "clean_accuracy"}
    assert len(estimates) == 8
    for name in estimates:
        if content[name] is None:
            assert content[f"{name}_interval"] is None
            continue
        value, bounds = np.asarray(content[name]), np.asarray(content[f"{name}_interval"])
        assert np.all(bounds[..., 0] <= value)
        assert np.all(value <= bounds[..., 1])
    assert content["confidence"] == 0.9
    wide = dataclasses.replace(result, confidence=0.99)
    assert wide.low_share_interval[1] > result.low_share_interval[1]


def test_white_noise_bands_are_those_of_its_profile() -> None:
    result = fourier_sensitivity(Textured((1, 32, 32)), pictures(2, (1, 32, 32)), [0, 0])
    low, mid, high = result.white_noise_bands
    assert (round(low, 3), round(mid, 3), round(high, 3)) == (0.094, 0.246, 0.660)
    assert result.to_dict()["band_limits_cycles_per_image"] == [5, 10]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dropped": 21}, "21 of 20 images dropped: accepted are 0 <= dropped <= images"),
        ({"white_noise_share": np.ones(2)}, "shares, their spread and their reference have shapes"),
    ],
)
def test_results_that_cannot_be_are_refused(
    result: FourierSensitivity, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(result, **changed)


def test_the_package_offers_it() -> None:
    assert specprobe.fourier_sensitivity is fourier_sensitivity


@pytest.mark.cuda
def test_cupy_images_stay_on_the_gpu() -> None:
    cupy = pytest.importorskip("cupy")
    there = fourier_sensitivity(Textured(), cupy.asarray(pictures(70)), labels(70))
    here = fourier_sensitivity(Textured(), pictures(70), labels(70))
    close(there.power_share, here.power_share, rtol=1e-5)
