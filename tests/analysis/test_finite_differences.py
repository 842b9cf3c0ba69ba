"""Gradients by central differences, against those that are known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax

import specprobe
from specprobe.analysis.finite_differences import finite_differences, losses_of_logits
from specprobe.analysis.sensitivity import fourier_sensitivity
from specprobe.arrays import like, namespace
from specprobe.runtime.network import Network

ROOT = Path(__file__).resolve().parents[2]
close: Any = np.testing.assert_allclose


class Smooth:
    """Logits are sums of a texture times sin(image): a gradient that is known, and no kinks."""

    def __init__(self, shape: tuple[int, int, int] = (3, 6, 8), classes: int = 4) -> None:
        self.classes, self.calls = classes, 0
        self.textures = np.random.default_rng(0).normal(size=(classes, *shape))

    def logits(self, images: Any, /) -> Any:
        self.calls += images.shape[0]
        xp = namespace(images)
        waves = xp.sin(xp.astype(images, xp.float64))
        parts = [xp.sum(waves * like(texture[None], images), axis=(1, 2, 3)) for texture in self.textures]
        return xp.stack(parts, axis=1)

    def gradients(self, images: Any, labels: Any) -> Any:
        return self.textures[labels] * np.cos(images.astype(np.float64))


def pictures(count: int, shape: tuple[int, int, int] = (3, 6, 8)) -> Any:
    return np.random.default_rng(1).random((count, *shape), dtype=np.float32)


def differences(classifier: Any, images: Any, labels: Any, **changed: Any) -> Any:
    settings: dict[str, Any] = {
        "loss": "logit",
        "channels": "power",
        "frequencies_per_ring": None,
        "seed": 0,
        "start": 0,
        "batch_size": 16,
    }
    return finite_differences(classifier, images, np.asarray(labels), **(settings | changed))


@pytest.mark.parametrize("shape", [(3, 6, 8), (1, 7, 5)])
def test_all_waves_give_the_gradient(shape: tuple[int, int, int]) -> None:
    classifier, images = Smooth(shape), pictures(3, shape)
    found = differences(classifier, images, [0, 1, 3])
    wanted = classifier.gradients(images, [0, 1, 3])
    assert found.gradients.dtype == np.float32
    close(found.gradients, wanted, atol=2e-3 * np.abs(wanted).max())
    assert np.all(found.relative_error < 1e-3)
    assert found.evaluations == classifier.calls
    waves = 2 * int(np.prod(shape))
    assert 3 * waves < found.evaluations <= 3 * (waves + 11 * 2 * 12)


def test_waves_in_all_channels_give_the_mean_of_the_channels() -> None:
    classifier, images = Smooth(), pictures(2)
    found = differences(classifier, images, [2, 1], channels="mean_before")
    wanted = classifier.gradients(images, [2, 1]).mean(axis=1, keepdims=True)
    close(found.gradients, wanted, atol=2e-3 * np.abs(wanted).max())
    assert found.evaluations < 2 * (2 * 48 + 11 * 2 * 12 + 1)


def test_every_library_gives_the_same(placed: Callable[[Any], Any]) -> None:
    images = pictures(2)
    there = differences(Smooth(), placed(images), [0, 1])
    assert isinstance(there.gradients, type(placed(images)))
    here = differences(Smooth(), images, [0, 1])
    close(np.asarray(there.gradients), here.gradients, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("batch_size", [1, 2, 1000])
def test_the_batch_size_changes_no_bit(batch_size: int) -> None:
    images = pictures(2)
    found, wanted = (differences(Smooth(), images, [0, 1], batch_size=size) for size in (batch_size, 16))
    assert np.array_equal(found.gradients, wanted.gradients)
    assert found.evaluations == wanted.evaluations


def test_what_is_drawn_depends_on_seed_and_image_alone() -> None:
    images = pictures(3)
    whole = differences(Smooth(), images, [0, 1, 2], frequencies_per_ring=2, start=5)
    last = differences(Smooth(), images[2:], [2], frequencies_per_ring=2, start=7)
    other = differences(Smooth(), images, [0, 1, 2], frequencies_per_ring=2, start=5, seed=1)
    assert np.array_equal(whole.gradients[2:], last.gradients)
    assert not np.array_equal(whole.gradients, other.gradients)


def test_drawn_ring_sums_are_right_on_average() -> None:
    from specprobe.spectral.power import image_power, ring_sums

    classifier, image = Smooth((1, 8, 8)), pictures(1, (1, 8, 8))
    found = [
        differences(classifier, image, [0], frequencies_per_ring=3, seed=seed).gradients
        for seed in range(300)
    ]
    sums = ring_sums(image_power(np.concatenate(found)), shape=(8, 8)).astype(np.float64)
    wanted = ring_sums(image_power(classifier.gradients(image, [0])), shape=(8, 8))[0]
    error = sums.std(axis=0) / np.sqrt(len(found))
    assert np.all(np.abs(sums.mean(axis=0) - wanted) < 4 * error + 2e-2 * wanted)


def test_a_flat_model_has_no_gradient_and_no_error() -> None:
    class Flat(Smooth):
        def logits(self, images: Any, /) -> Any:
            return np.zeros((len(images), 4))

    found = differences(Flat(), pictures(1), [0])
    assert not found.gradients.any()
    assert np.isnan(found.relative_error).all()


def test_losses_are_their_definitions() -> None:
    logits = np.random.default_rng(0).normal(size=(6, 4))
    labels = np.array([0, 1, 2, 3, 0, 1])
    rows = np.arange(6)
    close(losses_of_logits(logits, labels, loss="cross-entropy"), -log_softmax(logits, axis=1)[rows, labels])
    close(losses_of_logits(logits, labels, loss="logit"), logits[rows, labels])
    others = np.where(np.arange(4) == labels[:, None], -np.inf, logits).max(axis=1)
    margin = others - logits[rows, labels]
    close(losses_of_logits(logits, labels, loss="margin"), margin)
    ordered = np.sort(logits, axis=1)
    close(losses_of_logits(logits, labels, loss="dlr"), margin / (ordered[:, 3] - ordered[:, 1]))
    with pytest.raises(
        ValueError, match="loss is 'hinge'; accepted are 'cross-entropy', 'margin', 'dlr' and 'logit'"
    ):
        losses_of_logits(logits, labels, loss="hinge")


@pytest.mark.parametrize("loss", ["cross-entropy", "margin", "dlr", "logit"])
def test_losses_are_those_of_the_gradient_graph(loss: str) -> None:
    images = specprobe.load_images(ROOT / "models" / "digits" / "test.npz", limit=20)
    network = specprobe.load(ROOT / "models" / "digits" / "normal.onnx", image_shape=images.image_shape)
    batch = images.read(0, 20)
    assert batch.labels is not None
    graph = network.gradient(batch.images, batch.labels, loss=loss)[0]
    close(
        losses_of_logits(network.logits(batch.images), batch.labels, loss=loss), graph, rtol=1e-4, atol=1e-6
    )


def test_a_saturated_loss_keeps_its_digits() -> None:
    logits = np.array([[50.0, 0.0, -10.0]])
    found = losses_of_logits(logits, np.array([0]), loss="cross-entropy")
    assert found[0] == pytest.approx(np.exp(-50) + np.exp(-60), rel=1e-12)


# Through the analysis


@pytest.fixture(scope="module")
def digits() -> tuple[Network, Any]:
    images = specprobe.load_images(ROOT / "models" / "digits" / "test.npz", limit=12)
    return specprobe.load(ROOT / "models" / "digits" / "robust.onnx", image_shape=images.image_shape), images


@pytest.mark.parametrize(
    ("channels", "basis", "loss"),
    [("power", "fourier", "cross-entropy"), ("mean_before", "fourier", "margin"), ("power", "haar", "logit")],
)
def test_both_methods_agree(digits: tuple[Network, Any], channels: Any, basis: str, loss: str) -> None:
    settings: dict[str, Any] = {"channels": channels, "basis": basis, "loss": loss}
    slow = fourier_sensitivity(*digits, method="finite-difference", **settings)
    fast = fourier_sensitivity(*digits, **settings)
    close(slow.power_share, fast.power_share, atol=0.005)
    close(slow.power_map, fast.power_map, atol=0.005)
    assert slow.accuracy == fast.accuracy
    assert slow.method == "finite-difference"
    assert slow.model_evaluations is not None
    assert slow.model_evaluations > 12 * 2 * 256
    assert slow.relative_error is not None
    assert slow.relative_error < 0.05
    assert fast.model_evaluations is None


@pytest.mark.assets
@pytest.mark.slow
@pytest.mark.parametrize("name", ["point", "pgdk"])
def test_both_methods_agree_on_mnist(assets: Path, name: str) -> None:
    from specprobe.recipe import Preprocessing

    images = specprobe.load_images(assets / "data" / "mnist_test1000.npz", limit=20)
    recipe = Preprocessing(mean=(0.1307,), std=(0.3081,))
    network = specprobe.load(
        assets / "models" / f"mnist_eran_convsmall_{name}.onnx",
        preprocessing=recipe,
        image_shape=images.image_shape,
    )
    slow = fourier_sensitivity(network, images, method="finite-difference", batch_size=256)
    close(slow.power_share, fourier_sensitivity(network, images).power_share, atol=0.005)


def test_models_without_gradient_have_a_sensitivity() -> None:
    images = pictures(4)
    with pytest.raises(
        TypeError, match=r"Smooth has no gradient; .* others have the method 'finite-difference'"
    ):
        fourier_sensitivity(Smooth(), images)  # type: ignore[arg-type,unused-ignore]
    result = fourier_sensitivity(Smooth(), images, method="finite-difference", frequencies_per_ring=3)
    assert result.power_map is None
    assert (result.frequencies_per_ring, result.seed) == (3, 0)
    assert result.power_share.sum() == pytest.approx(1, abs=1e-6)
    parts = [fourier_sensitivity(Smooth(), images[i : i + 2], method="finite-difference") for i in (0, 2)]
    assert parts[0].model_evaluations is not None
    assert parts[0].merge(parts[1]).model_evaluations == 2 * parts[0].model_evaluations


def test_derivatives_that_are_noise_are_a_finding() -> None:
    class Rough(Smooth):
        def logits(self, images: Any, /) -> Any:
            bits = np.frombuffer(np.ascontiguousarray(images).tobytes(), np.uint32).reshape(len(images), -1)
            sums = (bits % 997).sum(axis=1).astype(np.float64)
            return np.sin(sums[:, None] * np.arange(1, self.classes + 1))

    result = fourier_sensitivity(Rough(), pictures(2), method="finite-difference")
    assert "finite-difference-error" in [finding.code for finding in result.findings]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "adjoint"}, "method is 'adjoint'; accepted are 'gradient' and 'finite-difference'"),
        ({"frequencies_per_ring": 0}, "frequencies_per_ring is 0; accepted are whole numbers from 1"),
        (
            {"frequencies_per_ring": 3, "basis": "dct"},
            "in the basis 'fourier', not 'finite-difference' and 'dct'",
        ),
        ({"frequencies_per_ring": 3, "channels": "mean_before"}, "height 7 and width 5 are padded"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], message: str) -> None:
    shape = (1, 7, 5)
    with pytest.raises(ValueError, match=message):
        fourier_sensitivity(Smooth(shape), pictures(2, shape), **({"method": "finite-difference"} | settings))
