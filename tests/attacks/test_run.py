"""``specprobe.attack``: what is counted, who decides, and that it does not depend on how the work is cut."""

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specprobe
from specprobe.arrays import like, namespace, to_host
from specprobe.attacks.catalogue import ATTACKS, Settings, members_of
from specprobe.attacks.norms import threat_of
from specprobe.attacks.oracle import Oracle
from specprobe.attacks.streams import Streams
from specprobe.errors import DataError
from specprobe.images import ArraySource
from specprobe.streaming import Checkpoint

attack: Any = specprobe.attack
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ball:
    """l_inf ball, with nothing to it but its size."""

    epsilon: float = 0.1
    norm: Any = "linf"
    band: str | None = None

    def size(self, perturbations: Any, /) -> Any:
        xp = namespace(perturbations)
        return xp.astype(xp.max(xp.abs(perturbations), axis=(1, 2, 3)), xp.float64)


class Threshold:
    """Class 1 where the first pixel is above a half; the second pixel, above a half, is class 2 for all that."""

    classes = 3

    def logits(self, images: Any, /) -> Any:
        xp = namespace(images)
        first, second = images[:, 0, 0, 0], images[:, 0, 0, 1]
        return xp.stack([0.5 - first, first - 0.5, 20 * (second - 0.5)], axis=1)


def moved(images: Any, by: Any, place: int = 0) -> Any:
    """The first pixel, or another one, moved, inside the box."""
    xp = namespace(images)
    step = np.zeros(tuple(images.shape), np.float32)
    step[:, 0, 0, place] = by
    return xp.clip(images + like(step, images), 0.0, 1.0)


def push(oracle: Any, threat: Any, streams: Any, /, *, share: float = 1.0) -> Any:
    """First pixel across the threshold, as far as epsilon allows; one forward pass."""
    rows = np.arange(len(oracle))
    up = np.where(oracle.labels == 0, 1, -1)
    made = moved(oracle.images, up * share * threat.epsilon)
    oracle.logits(made, rows)
    return made


def guess(oracle: Any, threat: Any, streams: Any, /) -> Any:
    """First pixel moved at random."""
    step = to_host(streams.uniform(np.arange(len(oracle)), (), low=-1, high=1))
    return moved(oracle.images, step * threat.epsilon)


def images_of(first: list[float]) -> Any:
    images = np.full((len(first), 1, 4, 4), 0.25, np.float32)
    images[:, 0, 0, 0] = first
    return images


FIRST = [0.1, 0.45, 0.55, 0.9, 0.48, 0.3]
LABELS = [0, 0, 1, 1, 1, 0]
"""All right but the fifth; the second and the third lie within 0.1 of the threshold."""


def attacked(**options: Any) -> Any:
    options = {"attack": push, "threat": Ball(), **options}
    return attack(Threshold(), images_of(FIRST), np.array(LABELS), **options)


def test_right_images_are_attacked_and_robust_accuracy_is_of_all() -> None:
    result = attacked()
    assert (result.images, result.attacked, result.standing, result.correct) == (6, 5, 3, 5)
    assert result.image_clean_correct.tolist() == [True, True, True, True, False, True]
    assert result.image_robust.tolist() == [True, False, False, True, False, True]
    assert result.clean_accuracy == 5 / 6
    assert result.robust_accuracy == 3 / 6
    assert result.success_rate == 2 / 5
    assert result.robust_accuracy_interval[0] < 0.5 < result.robust_accuracy_interval[1]
    assert np.isnan(result.image_perturbation_norm).tolist() == [False] * 4 + [True, False]
    assert result.median_perturbation_norm.value == pytest.approx(0.1, abs=1e-6)
    assert (result.members, result.member_fallen, result.target) == (("push",), (2,), "true")


def test_predictions_are_attacked_where_they_are_asked_for() -> None:
    result = attacked(target="predicted")
    assert (result.attacked, result.standing) == (6, 3)
    assert result.image_robust.tolist() == [True, False, False, True, False, True]
    assert result.clean_accuracy == 5 / 6, "of the labels, still"
    unlabelled = attack(Threshold(), images_of(FIRST), attack=push, threat=Ball())
    assert unlabelled.target == "predicted"
    assert unlabelled.clean_accuracy is None
    assert np.array_equal(unlabelled.image_robust, result.image_robust)
    assert [finding.code for finding in unlabelled.findings] == ["no-labels"]


def test_labels_are_missed() -> None:
    with pytest.raises(DataError, match="no labels"):
        attack(Threshold(), images_of(FIRST), attack=push, threat=Ball(), target="true")


def test_only_images_that_are_attacked_are_asked_for() -> None:
    result = attacked(keep_images=True)
    assert result.image_forward_evaluations.tolist() == [1, 1, 1, 1, 0, 1]
    assert result.image_gradient_evaluations.tolist() == [0] * 6
    assert (result.forward_evaluations, result.gradient_evaluations) == (5, 0)
    assert np.array_equal(result.adversarial[4], images_of(FIRST)[4]), "as it was"
    assert result.adversarial[1, 0, 0, 0] == pytest.approx(0.55)


def test_examples_are_the_first_that_fell() -> None:
    result = attacked()
    assert result.example_index.tolist() == [1, 2]
    assert result.example_classes.tolist() == [[0, 1], [1, 0]]
    assert np.array_equal(result.example_clean, images_of(FIRST)[[1, 2]])
    assert result.example_adversarial[:, 0, 0, 0].tolist() == pytest.approx([0.55, 0.45])
    many = attack(Threshold(), images_of([0.45] * 100), np.zeros(100, int), attack=push, threat=Ball())
    assert many.example_index.tolist() == list(range(8))
    assert attacked().adversarial is None


def test_spectrum_is_that_of_what_moved() -> None:
    from specprobe.analysis.perturbation import perturbation_spectrum

    result = attacked(keep_images=True)
    rows = np.array([0, 1, 2, 3, 5])
    images = images_of(FIRST)
    expected = perturbation_spectrum(images, result.adversarial, rows=rows)
    assert result.moved == expected.images == 5
    assert np.array_equal(result.perturbation.ring_sum_share, expected.ring_sum_share)
    still = attacked(attack=lambda oracle, threat, streams: oracle.images)
    assert (still.perturbation, still.moved, still.standing) == (None, 0, 5)


def test_each_restart_is_on_what_stands_with_numbers_of_its_own() -> None:
    images, labels = images_of(list(np.linspace(0.41, 0.49, 40))), np.zeros(40, int)
    fallen = []
    for restarts in (1, 2, 8):
        result = attack(Threshold(), images, labels, attack=guess, threat=Ball(), restarts=restarts)
        fallen.append(~result.image_robust)
    assert (fallen[0] <= fallen[1]).all()
    assert (fallen[1] <= fallen[2]).all()
    assert fallen[0].sum() < fallen[1].sum() < fallen[2].sum()


def test_an_image_does_as_it_does_alone() -> None:
    first = list(np.linspace(0.41, 0.49, 40))
    whole = attack(Threshold(), images_of(first), np.zeros(40, int), attack=guess, threat=Ball(), restarts=3)
    labels = np.zeros(40, int)
    labels[:7] = 1  # wrong, so not attacked
    part = attack(Threshold(), images_of(first), labels, attack=guess, threat=Ball(), restarts=3)
    assert np.array_equal(part.image_robust[7:], whole.image_robust[7:])
    assert np.array_equal(part.image_perturbation_norm[7:], whole.image_perturbation_norm[7:])


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_results_depend_on_no_batch_executor_or_interruption(batch_size: int, tmp_path: Any) -> None:
    images, labels = images_of(list(np.linspace(0, 1, 150))), (np.linspace(0, 1, 150) > 0.5).astype(int)
    settings: dict[str, Any] = {"attack": guess, "threat": Ball(), "restarts": 2, "keep_images": True}
    whole = attack(Threshold(), images, labels, **settings)
    assert attack(Threshold(), images, labels, **settings, batch_size=batch_size) == whole
    with ThreadPoolExecutor(2) as pool:
        assert attack(Threshold(), images, labels, **settings, executor=pool) == whole

    calls = []

    class Stop(Threshold):
        def logits(self, images: Any, /) -> Any:
            calls.append(len(images))
            if len(calls) == 20:
                raise KeyboardInterrupt
            return super().logits(images)

    checkpoint = Checkpoint(path=tmp_path / "part.npz", fingerprint="x", resume=True, seconds=0)
    with pytest.raises(KeyboardInterrupt):
        attack(Stop(), images, labels, **settings, checkpoint=checkpoint, batch_size=16)
    assert checkpoint.path.exists()
    assert attack(Threshold(), images, labels, **settings, checkpoint=checkpoint) == whole


@pytest.mark.parametrize("name", ATTACKS)
def test_what_workers_are_given_survives_the_way(name: str) -> None:
    settings = Settings(frequency=(1, 0)) if name == "universal" else Settings()
    members, _ = members_of(name, settings)
    images, labels = images_of(FIRST[:4]), np.array(LABELS[:4])
    oracle = Oracle(Threshold(), images, labels, np.arange(4))
    again = pickle.loads(pickle.dumps(members))
    assert [member.name for member in again] == [member.name for member in members]
    threat = pickle.loads(pickle.dumps(threat_of("linf", 0.1, shape=(1, 4, 4))))
    streams = Streams(0, "x", np.arange(4), like=images)
    if not again[0].gradients:
        assert again[0].function(oracle, threat, streams).shape == images.shape


def test_parts_merge_to_the_whole() -> None:
    images, labels = images_of(list(np.linspace(0, 1, 150))), (np.linspace(0, 1, 150) > 0.5).astype(int)
    settings: dict[str, Any] = {"attack": push, "threat": Ball()}
    whole = attack(Threshold(), images, labels, **settings)
    cut = attack(Threshold(), images[:64], labels[:64], **settings)
    rest = ArraySource(images[64:], labels[64:])
    merged = cut.merge(attack(Threshold(), rest, **settings))
    mine, its = merged.to_dict(), whole.to_dict()
    shares = [content.pop("perturbation")["ring_sum_share"] for content in (mine, its)]
    assert mine == its
    assert shares[0] == pytest.approx(shares[1], rel=1e-12)
    assert np.array_equal(merged.image_robust, whole.image_robust)


def test_every_library_gives_the_same(placed: Callable[[Any], Any]) -> None:
    result = attack(
        Threshold(), placed(images_of(FIRST)), np.array(LABELS), attack=push, threat=Ball(), keep_images=True
    )
    expected = attacked(keep_images=True)
    assert result.to_dict()["members"] == expected.to_dict()["members"]
    assert np.array_equal(result.image_robust, expected.image_robust)
    assert np.allclose(result.adversarial, expected.adversarial, atol=1e-6)


def test_images_are_left_alone() -> None:
    images = images_of(FIRST)
    images.setflags(write=False)
    attack(Threshold(), images, np.array(LABELS), attack=push, threat=Ball(), keep_images=True)


# Trust in nobody


def test_an_attack_that_leaves_the_ball_is_a_bug() -> None:
    with pytest.raises(
        RuntimeError, match=r"moved image 2 by 0\.1001\d* \(linf\), epsilon is 0\.1: this is a bug"
    ):
        attacked(attack=partial_named(push, share=1.001))
    attacked(attack=partial_named(push, share=1 + 5e-6))  # rounding


def test_an_attack_that_leaves_the_box_is_a_bug() -> None:
    with pytest.raises(RuntimeError, match=r"pixels from -0.05\d* to 0.75, outside \[0, 1\]: this is a bug"):
        attacked(attack=lambda oracle, threat, streams: oracle.images - 0.15, threat=Ball(1.0))
    with pytest.raises(RuntimeError, match="pixels from nan to nan"):
        attacked(attack=lambda oracle, threat, streams: oracle.images * np.float32(np.nan))


def test_an_attack_that_gives_other_shapes_is_a_bug() -> None:
    with pytest.raises(
        RuntimeError, match=r"gave float32 of shape \(2, 1, 4, 4\) for images that are float32"
    ):
        attacked(attack=lambda oracle, threat, streams: oracle.images[:2])
    with pytest.raises(RuntimeError, match="gave float64"):
        attacked(attack=lambda oracle, threat, streams: oracle.images.astype(np.float64))


def test_what_an_attack_believes_does_not_count() -> None:
    def boasts(oracle: Any, threat: Any, streams: Any, /) -> Any:
        assert oracle.fooled(
            -oracle.logits(oracle.images, np.arange(len(oracle))), np.arange(len(oracle))
        ).any()
        return oracle.images

    assert attacked(attack=boasts).standing == 5


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attack": "bim"}, "attack is 'bim'; accepted are fgsm, pgd, apgd-ce"),
        ({"attack": "fgsm", "steps": 3}, "fgsm takes no steps"),
        ({"attack": "pgd", "queries": 3}, "pgd takes no queries; it takes steps, step_size"),
        ({"attack": "square", "step_size": 0.1}, "square takes no step_size"),
        ({"attack": "pgd", "steps": 0}, "steps is 0; accepted are whole numbers from 1"),
        ({"attack": "pgd", "step_size": -1.0}, "step_size is -1.0"),
        ({"attack": "pgd", "restarts": 0}, "restarts is 0"),
        ({"attack": "deepfool", "restarts": 2}, "deepfool draws no random numbers, so 2 restarts are one"),
        ({"attack": "fab-t", "band": "0:2"}, "fab-t knows no frequencies"),
        ({"attack": push, "steps": 2}, "push takes no steps; it takes none of these settings"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"target": "other"}, "target is 'other'"),
        ({"confidence": 1.0}, "confidence is 1.0"),
        ({"attack": "square", "norm": "l2", "threat": None}, "epsilon has to be given for l2"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    if "band" in settings:
        settings = {**settings, "threat": None}
    with pytest.raises(ValueError, match=message):
        attacked(**settings)


def test_a_gradient_is_asked_for_before_the_work() -> None:
    with pytest.raises(TypeError, match="Threshold has no gradient"):
        attacked(attack="pgd")


def partial_named(function: Any, **settings: Any) -> Any:
    made = partial(function, **settings)
    made.__name__ = function.__name__  # type: ignore[attr-defined]
    return made


# Models


def compared(network: Any, images: Any, **settings: Any) -> tuple[Any, dict[str, Any]]:
    """The standard protocol, and each of its members alone, with the same seeds and budgets."""
    budgets: dict[str, Any] = {"apgd-ce": {"steps": 5}, "apgd-t": {"steps": 5}, "fab-t": {"steps": 5}, "square": {"queries": 40}}  # fmt: skip
    whole = attack(network, images, attack="standard", steps=5, queries=40, **settings)
    alone = {
        name: attack(network, images, attack=name, **budget, **settings) for name, budget in budgets.items()
    }
    return whole, alone


@pytest.mark.slow
def test_standard_stands_nowhere_where_a_member_alone_does_not() -> None:
    images = specprobe.load_images(ROOT / "models" / "digits" / "test.npz", limit=40)
    network = specprobe.load(ROOT / "models" / "digits" / "robust.onnx")
    whole, alone = compared(network, images, epsilon=0.12)
    assert whole.members == ("apgd-ce", "apgd-t", "fab-t", "square")
    for name, result in alone.items():
        assert (whole.image_robust <= result.image_robust).all(), name
    assert 0 < whole.standing < whole.attacked
    assert whole.flags == () or {flag.code for flag in whole.flags} == {"gradient-masking"}


@pytest.mark.assets
@pytest.mark.slow
@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 2 / 255), ("l2", 0.25), ("l1", 6.0)])
def test_standard_is_the_worst_of_its_members_on_a_real_model(
    assets: Path, norm: str, epsilon: float
) -> None:
    images = specprobe.load_images(assets / "data" / "cifar10_lossless_test.npz", limit=32)
    network = specprobe.load(assets / "models" / "cifar10_ada_resnet4b_pgd.onnx")
    whole, alone = compared(network, images, norm=norm, epsilon=epsilon)
    for name, result in alone.items():
        assert (whole.image_robust <= result.image_robust).all(), name
        assert whole.robust_accuracy <= result.robust_accuracy
    assert 0 < whole.standing < whole.attacked


def digits() -> tuple[Any, Any]:
    images = specprobe.load_images(ROOT / "models" / "digits" / "test.npz", limit=4)
    return specprobe.load(ROOT / "models" / "digits" / "normal.onnx", image_shape=images.image_shape), images


@pytest.mark.parametrize(
    ("epsilon", "error", "message"),
    [
        (
            8,
            ValueError,
            r"epsilon is 8, more than pixels of \[0, 1\] can change; 8 of 255 grey levels are 8 / 255",
        ),
        ("8/255", TypeError, r"epsilon is the text '8/255'; accepted are numbers"),
    ],
)
def test_epsilons_that_are_no_pixels_are_refused(epsilon: Any, error: type[Exception], message: str) -> None:
    network, images = digits()
    with pytest.raises(error, match=message):
        attack(network, images, attack="fgsm", epsilon=epsilon)


def test_a_band_is_a_pair_as_well_as_a_text() -> None:
    network, images = digits()
    pair, text = (
        attack(network, images, attack="pgd", steps=2, epsilon=0.5, norm="l2", band=band)
        for band in ((0, 3.5), "0:3.5")
    )
    assert pair == text
    assert pair.band == text.band
