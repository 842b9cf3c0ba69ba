"""One wave for all images: its size and spectrum, and where it hurts networks that read known frequencies."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specprobe
from specprobe.arrays import to_host
from specprobe.attacks.norms import threat_of
from specprobe.attacks.oracle import Oracle
from specprobe.attacks.streams import Streams
from specprobe.attacks.universal import universal, universal_perturbation
from specprobe.errors import InputMismatch
from specprobe.spectral.grid import real_frequencies

FOLDER = Path(__file__).resolve().parents[2] / "models" / "bands"
EPSILONS = {"linf": 0.05, "l2": 0.6, "l1": 5.0}
ORDER = {"linf": np.inf, "l2": 2, "l1": 1}
EACH_NORM = pytest.mark.parametrize("norm", list(EPSILONS))


class Silent:
    """Answers nothing: the attack asks nothing."""

    classes = 3

    def logits(self, images: Any, /) -> Any:
        raise AssertionError


def attacked(images: Any, norm: Any, frequency: tuple[int, int]) -> Any:
    rows = np.arange(images.shape[0])
    oracle = Oracle(Silent(), images, np.zeros(len(rows), np.int64), rows)
    streams = Streams(0, "universal/0", rows, like=images)
    return universal(oracle, threat_of(norm, EPSILONS[norm]), streams, frequency=frequency)


def pictures(shape: tuple[int, int]) -> Any:
    pixels = np.random.default_rng(0).uniform(-0.3, 1.3, (3, 2, *shape))
    return np.clip(pixels, 0, 1).astype(np.float32)


@EACH_NORM
@pytest.mark.parametrize("shape", [(8, 8), (7, 10)])
def test_every_frequency_lies_in_ball_and_box(norm: Any, shape: tuple[int, int]) -> None:
    images, threat = pictures(shape), threat_of(norm, EPSILONS[norm])
    for f_y, f_x in real_frequencies(shape).tolist():
        made = attacked(images, norm, (f_y, f_x))
        assert made.dtype == np.float32
        assert made.min() >= 0
        assert made.max() <= 1
        assert to_host(threat.size(made - images)).max() <= threat.epsilon * (1 + 1e-5)
        wave = universal_perturbation((f_y, f_x), norm=norm, epsilon=EPSILONS[norm], like=images)
        assert np.linalg.norm(wave.ravel(), ord=ORDER[norm]) == pytest.approx(EPSILONS[norm], rel=1e-5)


@EACH_NORM
def test_the_wave_is_the_same_for_all_images_and_channels(norm: Any) -> None:
    images = np.full((4, 3, 8, 8), 0.5, np.float32)
    images[1] = 0.4
    made = attacked(images, norm, (2, 1)) - images
    np.testing.assert_allclose(made, np.broadcast_to(made[:1, :1], made.shape), atol=1e-6)
    assert np.abs(made).max() > 0


def test_waves_have_one_frequency() -> None:
    like = np.zeros((1, 9, 8), np.float32)
    for f_y, f_x in real_frequencies((9, 8)).tolist():
        power = (
            np.abs(np.fft.fft2(universal_perturbation((f_y, f_x), norm="l2", epsilon=1.0, like=like)[0, 0]))
            ** 2
        )
        found = {tuple(k) for k in np.argwhere(power > 1e-6 * power.max()).tolist()}
        assert found == {(f_y % 9, f_x % 8), (-f_y % 9, -f_x % 8)}


def test_signs_of_the_wave_do_not_hang_on_rounding() -> None:
    """At 45 degrees a wave of four cycles has zeros in every eighth column; they count as positive."""
    for dtype in (np.float32, np.float64):
        like = np.zeros((3, 32, 32), dtype)
        wave = universal_perturbation((0, 4), norm="linf", epsilon=0.5, like=like)
        row = np.cos(2 * np.pi * (np.arange(32) * 4 % 32 + 4) / 32)
        wanted = np.where(np.round(row, 9) >= 0, 0.5, -0.5)
        assert np.array_equal(wave, np.broadcast_to(wanted.astype(dtype), (1, 3, 32, 32)))


@EACH_NORM
def test_each_library_gives_the_same_images(placed: Any, norm: Any) -> None:
    wanted = attacked(pictures((7, 10)), norm, (-2, 3))
    found = attacked(placed(pictures((7, 10))), norm, (-2, 3))
    assert type(found) is type(placed(wanted))
    np.testing.assert_allclose(to_host(found), wanted, atol=1e-6)


def test_a_frequency_off_the_grid_is_refused() -> None:
    with pytest.raises(InputMismatch, match=r"frequency \(f_y, f_x\) = \(5, 0\) lies outside"):
        attacked(pictures((8, 8)), "linf", (5, 0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "bands"),
    [("low", [(3, 5)]), ("mid", [(7, 9)]), ("high", [(13, 15)]), ("low_high", [(3, 5), (13, 15)])],
)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_planted_frequencies_hurt_most(variant: str, bands: list[tuple[int, int]], norm: Any) -> None:
    source = specprobe.load_images(FOLDER / f"{variant}.npz")
    network = specprobe.load(FOLDER / f"{variant}.onnx", image_shape=source.image_shape)
    batch = source.read(0, 48)
    labels, rows = np.asarray(batch.labels), np.arange(48)
    oracle = Oracle(network, batch.images, labels, rows, batch_size=48)
    threat = threat_of(norm, {"linf": 0.04, "l2": 2.2}[norm])
    frequencies = real_frequencies((32, 32))[::3]
    rho = np.hypot(frequencies[:, 0], frequencies[:, 1])
    planted = np.any([(low <= rho) & (rho < high) for low, high in bands], axis=0)
    fallen = np.zeros(len(frequencies))
    for place, (f_y, f_x) in enumerate(frequencies.tolist()):
        made = universal(
            oracle, threat, Streams(0, "universal/0", rows, like=batch.images), frequency=(f_y, f_x)
        )
        fallen[place] = oracle.fooled(network.logits(made), rows).mean()
    assert planted[np.argmax(fallen)]
    assert fallen[planted].mean() > 5 * fallen[~planted].mean()
