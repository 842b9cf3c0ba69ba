"""How far one frequency moves the tensors inside a classifier: on fakes whose tensors are known."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specprobe
from specprobe.analysis.heatmap import FourierHeatmap, fourier_heatmap
from specprobe.analysis.heatmap_layers import TensorClassifier
from specprobe.arrays import like, namespace, to_host
from specprobe.errors import InputMismatch, InvalidNumbers, ModelError
from specprobe.images import ArraySource
from specprobe.results import document, dump_json, from_document, pack, unpack
from specprobe.spectral.basis import basis_images
from specprobe.spectral.grid import frequency_index, radius, real_frequencies
from specprobe.streaming import Checkpoint

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (8, 8)
NAMES = ("pixels", "low", "square")


class Inside:
    """Tensors: the pixels, their low frequencies, and their squares, each of a rank of its own."""

    classes = 3

    def __init__(self, shape: tuple[int, int] = SHAPE) -> None:
        self.kept = np.fft.ifftshift(radius(shape) < 2.5)
        self.shown = 0

    def logits(self, images: Any, /) -> Any:
        return self.tensors(images, ())[0]

    def tensors(self, images: Any, names: Sequence[str], /) -> tuple[Any, ...]:
        self.shown += images.shape[0]
        xp = namespace(images)
        flat = xp.reshape(xp.astype(images, xp.float64), (images.shape[0], -1))
        host = to_host(images).astype(np.float64)
        low = like(np.fft.ifft2(np.fft.fft2(host) * self.kept).real, images)
        held = {"pixels": flat, "low": low, "square": xp.sum(flat * flat, axis=1)}
        return flat[:, :3], *(held[name] for name in names)


def grey(count: int = 20) -> Any:
    return (
        np.full((count, 3, *SHAPE), 0.5, np.float32)
        + np.linspace(-0.1, 0.1, count, dtype=np.float32)[:, None, None, None]
    )


def measured(classifier: Any = None, images: Any = None, **settings: Any) -> FourierHeatmap:
    images = grey() if images is None else images
    given: dict[str, Any] = {"clip": False, "layers": NAMES, "l2_norm_per_channel": 2.0}
    return fourier_heatmap(classifier or Inside(), images, **given | settings)


def layer(result: FourierHeatmap, name: str, of: str = "layer_change") -> Any:
    values = getattr(result, of)
    assert values is not None
    return values[result.layers.index(name)]


def test_a_frequency_moves_the_pixels_by_its_norm() -> None:
    result = measured()
    assert isinstance(Inside(), TensorClassifier)
    assert np.allclose(layer(result, "pixels"), 2 * np.sqrt(3), atol=1e-5)  # three channels of norm 2
    norms = [np.linalg.norm(image.astype(np.float64)) for image in grey()]
    wanted = np.mean([2 * np.sqrt(3) / norm for norm in norms])
    assert np.allclose(layer(result, "pixels", "layer_relative_change"), wanted, atol=1e-6)


def test_a_frequency_moves_what_passes_it_alone() -> None:
    result = measured()
    inside = radius(SHAPE) < 2.5
    assert np.allclose(layer(result, "low")[inside], 2 * np.sqrt(3), atol=1e-5)
    assert np.allclose(layer(result, "low")[~inside], 0, atol=1e-5)


@pytest.mark.parametrize("phase", ["0", "45"])
def test_changes_are_those_of_a_straightforward_sum(phase: Any) -> None:
    images = np.random.default_rng(0).random((18, 3, *SHAPE), dtype=np.float32)
    result = measured(images=images, phase=phase, random_sign=False, clip=True)
    waves = basis_images(real_frequencies(SHAPE), shape=SHAPE, like=np.zeros(1), phase_degrees=float(phase))
    for place in (0, 7, 20):
        added = (images + 2 * waves[place]).clip(0, 1).astype(np.float64)
        before, after = ((part.astype(np.float64) ** 2).sum(axis=(1, 2, 3)) for part in (images, added))
        change = np.abs(after - before)
        cells = frequency_index(SHAPE) == place
        assert np.allclose(layer(result, "square")[cells], change.mean(), rtol=1e-4)
        relative = layer(result, "square", "layer_relative_change")[cells]
        assert np.allclose(relative, (change / before).mean(), rtol=1e-4)
        bounds = result.layer_change_interval
        assert bounds is not None
        spread = 1.959964 * change.std() / np.sqrt(17)
        assert np.allclose(bounds[2][cells], [change.mean() - spread, change.mean() + spread], rtol=1e-3)


def test_worst_of_two_takes_the_larger_change() -> None:
    images = np.random.default_rng(0).random((9, 3, *SHAPE), dtype=np.float32)
    one, both = (measured(images=images, phase=phase) for phase in ("0", "worst-of-two"))
    assert (layer(both, "square") >= layer(one, "square")).all()
    assert (layer(both, "square") > layer(one, "square")).any()


def test_errors_and_losses_are_those_without_layers() -> None:
    images = np.random.default_rng(0).random((18, 3, *SHAPE), dtype=np.float32)
    result, plain = measured(images=images), measured(images=images, layers=())
    none = dict.fromkeys(
        ("mean_layer_change", "layer_change_std", "mean_layer_relative_change", "layer_relative_change_std")
    )
    assert replace(result, layers=(), **none) == plain  # type: ignore[arg-type]


def test_clean_tensors_come_with_the_clean_logits() -> None:
    classifier = Inside()
    result = measured(classifier)
    assert result.model_evaluations == classifier.shown == 20 * (1 + len(real_frequencies(SHAPE)))


def test_results_do_not_hang_on_the_batch_size() -> None:
    images = np.random.default_rng(0).random((19, 3, *SHAPE), dtype=np.float32)
    wanted = measured(images=images)
    for size in (1, 7, 1000):
        assert measured(images=images, batch_size=size) == wanted


def test_array_libraries_agree(placed: Callable[[Any], Any]) -> None:
    images = np.random.default_rng(0).random((5, 3, *SHAPE), dtype=np.float32)
    wanted = measured(images=images)
    found = measured(images=placed(images))
    assert found.mean_layer_change is not None
    assert wanted.mean_layer_change is not None
    assert np.allclose(found.mean_layer_change, wanted.mean_layer_change, atol=1e-5)


def test_only_what_was_evaluated_has_a_change() -> None:
    images = np.random.default_rng(0).random((20, 3, *SHAPE), dtype=np.float32)
    wanted = measured(images=images)
    for settings in ({"frequencies": 3}, {"refine": 4}):
        found = measured(images=images, **settings)
        cells = found.evaluated_cells
        assert 0 < cells.sum() < 64
        for name in ("layer_change", "layer_relative_change"):
            for mine, its in zip(getattr(found, name), getattr(wanted, name), strict=True):
                assert np.array_equal(mine[cells], its[cells])
                assert np.isnan(mine[~cells]).all()


def test_a_tensor_of_zeros_has_no_relative_change() -> None:
    images = grey()
    images[3] = 0
    result = measured(images=images)
    assert np.isfinite(layer(result, "pixels")).all()
    assert np.isnan(layer(result, "pixels", "layer_relative_change")).all()
    silent = [finding.message for finding in result.findings if finding.code == "silent-layer"]
    assert len(silent) == 3
    assert "tensor 'pixels' is zero for some images as they are" in silent[0]
    assert not [finding for finding in measured().findings if finding.code == "silent-layer"]


def test_numbers_that_are_none_name_image_and_tensor() -> None:
    class Broken(Inside):
        def tensors(self, images: Any, names: Sequence[str], /) -> tuple[Any, ...]:
            logits, pixels, *rest = super().tensors(images, names)
            return logits, np.where(pixels > 0.7, np.inf, pixels), *rest

    images = np.full((3, 3, *SHAPE), 0.5, np.float32)
    images[1, 0, 0, 0] = 0.8
    with pytest.raises(InvalidNumbers, match="tensor 'pixels' of image 1 is NaN or infinite"):
        measured(Broken(), images, l2_norm_per_channel=0.01)


@pytest.mark.parametrize(
    ("classifier", "layers", "message"),
    [
        (type("Plain", (), {"classes": 3, "logits": None})(), ("a",), r"layers are \('a',\) of Plain"),
        (Inside(), "pixels", "layers are 'pixels' of Inside; accepted are lists of names"),
    ],
)
def test_what_has_no_tensors_is_refused(classifier: Any, layers: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        measured(classifier, layers=layers)


# Results


def test_parts_merge_to_the_whole_and_other_layers_do_not() -> None:
    images = np.random.default_rng(0).random((40, 3, *SHAPE), dtype=np.float32)
    whole, parts = (
        measured(images=images, random_sign=False),
        [measured(images=images[part], random_sign=False) for part in (np.s_[:16], np.s_[16:])],
    )
    merged = parts[0].merge(parts[1])
    for name in ("layer_change", "layer_change_interval", "layer_relative_change"):
        assert np.allclose(getattr(merged, name), getattr(whole, name), rtol=1e-6)
    with pytest.raises(InputMismatch, match="layers is"):
        parts[0].merge(measured(images=images[16:], layers=NAMES[:2], random_sign=False))


@pytest.mark.parametrize("settings", [{}, {"frequencies": 3}, {"limit": 1}, {"layers": NAMES[:1]}])
def test_results_come_back_from_files(settings: dict[str, Any]) -> None:
    limit = settings.pop("limit", 20)
    result = measured(images=grey(limit), **settings)
    content = json.loads(dump_json(document(result)))
    found = from_document(content)
    assert found.to_dict() == result.to_dict() == content["result"]
    assert unpack(*pack(result)) == result
    held = content["result"]["layers"]
    assert [part["name"] for part in held] == list(result.layers)
    assert np.shape(held[0]["layer_change_interval"]) == (8, 8, 2)
    arrays = result.arrays()
    assert arrays["layer_change"].shape == (len(result.layers), 8, 8)
    assert arrays["layers"].tolist() == list(result.layers)
    assert measured(layers=()).to_dict()["layers"] is None


def test_values_of_other_shapes_are_refused() -> None:
    result = measured()
    for changed in ({"layers": NAMES[:2]}, {"layer_change_std": None}, {"layers": ()}):
        with pytest.raises(ValueError, match="values by layer have shapes"):
            replace(result, **changed)


# Real networks


@pytest.fixture(scope="module")
def bands() -> tuple[Any, Any]:
    with np.load(ROOT / "models" / "bands" / "mid.npz") as file:
        source = ArraySource(file["images"][:20], file["labels"][:20])
    return specprobe.load(ROOT / "models" / "bands" / "mid.onnx", threads=1), source


def test_the_first_layer_of_a_network_answers_to_its_band(bands: tuple[Any, Any]) -> None:
    lines = [[f, 0] for f in range(-15, 0)]
    result = fourier_heatmap(*bands, frequencies=lines, layers=["/2/Relu_output_0", "/4/Relu_output_0"])
    assert result.layer_relative_change is not None
    for change in result.layer_relative_change:
        assert np.nanargmax(change[1:16, 16]) in {15 - 7, 15 - 8, 15 - 9}
    plain = fourier_heatmap(*bands, frequencies=lines)
    assert np.array_equal(result.errors, plain.errors)
    assert np.allclose(result.mean_loss_increase, plain.mean_loss_increase, atol=1e-5, equal_nan=True)
    with pytest.raises(ModelError, match="there is no tensor '/2/Relu_output_1'"):
        fourier_heatmap(*bands, frequencies=lines, layers=["/2/Relu_output_1"])


def test_threads_and_resumed_runs_give_the_same_bits(bands: tuple[Any, Any], tmp_path: Path) -> None:
    settings: dict[str, Any] = {"frequencies": 3, "layers": ["/2/Relu_output_0"]}
    wanted = fourier_heatmap(*bands, **settings)
    with ThreadPoolExecutor(2) as executor:
        assert fourier_heatmap(*bands, executor=executor, **settings) == wanted

    def stop(done: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "partial.npz"
    with pytest.raises(KeyboardInterrupt):
        fourier_heatmap(*bands, checkpoint=Checkpoint(path=path, fingerprint="f"), progress=stop, **settings)
    kept = Checkpoint(path=path, fingerprint="f", resume=True)
    assert fourier_heatmap(*bands, checkpoint=kept, **settings) == wanted
