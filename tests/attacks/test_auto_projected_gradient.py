"""APGD: its schedule against checkpoints worked out by hand, its climb against PGD's, and what it does to each image."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from specprobe.arrays import namespace, to_host
from specprobe.attacks.auto_projected_gradient import apgd, apgd_targeted, checkpoints
from specprobe.attacks.norms import NORMS, threat_of
from specprobe.attacks.oracle import Oracle
from specprobe.attacks.projected_gradient import pgd
from specprobe.attacks.streams import Streams
from specprobe.errors import InputMismatch

SHAPE = (3, 6, 6)
EPSILONS = {"linf": 0.004, "l2": 0.04, "l1": 0.2}
every_norm = pytest.mark.parametrize("norm", NORMS)


class Recording(Oracle):
    """An oracle that keeps what it was asked: candidates, losses and gradients, where all rows stand."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.asked: list[Any] = []
        self.losses: list[Any] = []
        self.gradients: list[Any] = []

    def gradient(self, images: Any, rows: Any, /, **options: Any) -> Any:
        logits, losses, gradients = super().gradient(images, rows, **options)
        self.asked.append(images)
        self.losses.append(np.asarray(losses, np.float64))
        self.gradients.append(gradients)
        return logits, losses, gradients


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (100, [22, 41, 57, 70, 80, 87, 93, 99]),  # stretches 22 19 16 13 10 7 6 6
        (50, [11, 21, 30, 38, 45]),  # stretches 11 10 9 8 7 6: 3 % of 50 count as 1
        (20, [4, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]),  # 4 3 2 1 1 …
        (1, [1]),
    ],
)
def test_checkpoints_are_as_published(steps: int, expected: list[int]) -> None:
    assert checkpoints(steps) == expected


def test_every_step_is_as_published(linear: Any, pictures: Any) -> None:
    """The whole run written once more, image by image, in the words of the paper's algorithm."""
    steps, epsilon = 30, 0.05
    classifier = linear(wavy=True)
    images = pictures(6, saturated=True)
    labels = classifier.logits(images).argmax(axis=1)
    oracle = Recording(classifier, images, labels, np.arange(6))
    streams = Streams(0, "test", oracle.index, like=images)
    apgd(oracle, threat_of("linf", epsilon), streams, steps=steps, early_stop=False)
    assert len(oracle.asked) == steps + 1
    looks = {6, 11, 15, 18, 20, *range(21, 31)}  # stretches 6 5 4 3 2 1 1 …: a smallest stretch of 1
    assert set(checkpoints(steps)) == looks
    reduced_ever = surface = 0
    for row in range(6):
        clean = images[row].astype(np.float64)

        def inside(x: Any, clean: Any = clean) -> Any:
            return np.clip(np.clip(x, clean - epsilon, clean + epsilon), 0, 1)

        x = [oracle.asked[0][row].astype(np.float64)]
        surface += np.abs(x[0] - clean).max() > 0.9999 * epsilon
        f = [oracle.losses[0][row]]
        gradient = best_gradient = oracle.gradients[0][row]
        size, best, best_f, best_f_at_look, reduced = 2 * epsilon, x[0], f[0], f[0], True
        current = x[0]
        rises = stretch = 0
        for step in range(1, steps + 1):
            z = inside(current + size * np.sign(gradient))
            previous = x[-2] if step > 1 else current
            following = (
                z if step == 1 else inside(current + 0.75 * (z - current) + 0.25 * (current - previous))
            )
            np.testing.assert_allclose(oracle.asked[step][row], following, atol=2e-6)
            x[-1:] = [current, oracle.asked[step][row].astype(np.float64)]
            current, gradient = x[-1], oracle.gradients[step][row]
            f.append(oracle.losses[step][row])
            rises, stretch = rises + (f[-1] > f[-2]), stretch + 1
            if f[-1] > best_f:
                best, best_f, best_gradient = current, f[-1], gradient
            if step in looks:
                reduced = rises <= 0.75 * stretch or (not reduced and best_f == best_f_at_look)
                best_f_at_look, rises, stretch = best_f, 0, 0
                if reduced:
                    size, current, gradient = size / 2, best, best_gradient
                    reduced_ever += 1
    assert reduced_ever > 6
    assert surface >= 3  # where the box does not cut the largest change


@every_norm
def test_it_climbs_no_less_than_pgd_with_as_many_gradients(linear: Any, pictures: Any, norm: Any) -> None:
    """On average over images, of the highest losses reached."""
    classifier = linear(wavy=True, seed=2)
    images = pictures(60, 3)
    labels = classifier.logits(images).argmax(axis=1)
    threat = threat_of(norm, EPSILONS[norm])
    reached = []
    for attack, steps in ((pgd, 101), (apgd, 100)):
        oracle = Recording(classifier, images, labels, np.arange(60), batch_size=60)
        streams = Streams(0, "test", oracle.index, like=images)
        attack(oracle, threat, streams, steps=steps, early_stop=False)
        assert oracle.gradient_evaluations.tolist() == [101] * 60
        reached.append(np.max(oracle.losses, axis=0).mean())
    # In l1 the share of coordinates that a step moves is fixed for both, and PGD's shrunken steps do as well.
    assert reached[1] >= reached[0] * (0.97 if norm == "l1" else 1)


@every_norm
@pytest.mark.parametrize("loss", ["cross-entropy", "dlr"])
def test_nothing_leaves_ball_and_box_or_is_written_into(
    linear: Any, attackable: Any, norm: Any, loss: str
) -> None:
    for scale in (0.1, 1, 10):
        oracle, streams = attackable(linear(wavy=True))
        oracle.images.setflags(write=False)
        threat = threat_of(norm, scale * EPSILONS[norm])
        for made in (
            apgd(oracle, threat, streams, steps=15, loss=loss),
            apgd_targeted(oracle, threat, streams, steps=5),
        ):
            assert made.shape == oracle.images.shape
            assert made.min() >= 0
            assert made.max() <= 1
            slack = 1e-6 if norm == "linf" else 1e-5 * threat.epsilon
            assert (threat.size(made - oracle.images) <= threat.epsilon + slack).all()


@every_norm
@pytest.mark.parametrize(
    ("attack", "options"),
    [(apgd, {"steps": 12}), (apgd, {"steps": 12, "loss": "dlr"}), (apgd_targeted, {"steps": 6})],
)
def test_an_image_fares_alike_in_any_batch(
    linear: Any, attackable: Any, attack: Any, options: Any, norm: Any
) -> None:
    classifier, threat = linear(wavy=True), threat_of(norm, EPSILONS[norm])
    oracle, streams = attackable(classifier)
    every = attack(oracle, threat, streams, **options)
    fallen = oracle.fooled(oracle.logits(every, np.arange(12)), np.arange(12))
    assert 0 < fallen.sum() < 12
    for rows in ([3], [7, 2], [11, 0, 5, 6, 1, 8]):
        part, own = attackable(classifier, rows=rows)
        np.testing.assert_array_equal(attack(part, threat, own, **options), every[rows])


@every_norm
def test_images_that_have_fallen_cost_nothing_further(
    linear: Any, attackable: Any, counting: Any, norm: Any
) -> None:
    watched = counting(linear(wavy=True))
    runs: Any = ((apgd, {"steps": 10}), (apgd_targeted, {"steps": 10, "classes": 2}))
    for attack, options in runs:
        oracle, streams = attackable(watched)
        watched.calls.clear()
        made = attack(oracle, threat_of(norm, EPSILONS[norm]), streams, **options)
        gradients, logits = oracle.gradient_evaluations, oracle.forward_evaluations
        assert watched.images == (gradients + logits).sum()
        fallen = oracle.fooled(oracle.logits(made, np.arange(12)), np.arange(12))
        assert 0 < fallen.sum() < 12
        assert (gradients[~fallen] == (11 if attack is apgd else 22)).all()
        assert gradients[fallen].min() < 11


def test_early_stop_changes_what_is_spent_and_not_what_is_found(linear: Any, attackable: Any) -> None:
    classifier, threat = linear(wavy=True), threat_of("linf", EPSILONS["linf"])
    found = []
    for early_stop in (True, False):
        oracle, streams = attackable(classifier)
        found.append(apgd(oracle, threat, streams, steps=12, early_stop=early_stop))
    np.testing.assert_array_equal(*found)
    assert oracle.gradient_evaluations.tolist() == [13] * 12


def test_of_what_stands_the_highest_loss_is_kept(linear: Any, pictures: Any) -> None:
    classifier = linear(wavy=True, seed=3)
    waves = classifier.logits
    classifier.logits = lambda images: (
        waves(images) + np.array([8, 0, 0, 0, 0], np.float32)
    )  # class 0 never falls
    images, labels = pictures(12, 5), np.zeros(12, np.int64)
    oracle = Recording(classifier, images, labels, np.arange(12))
    streams = Streams(0, "test", oracle.index, like=images)
    made = apgd(oracle, threat_of("linf", 0.1), streams, steps=8)
    losses, _ = classifier.gradient(made, labels)
    np.testing.assert_allclose(losses, np.max(oracle.losses, axis=0), rtol=1e-5)
    assert (np.argmax(oracle.losses, axis=0) < 8).sum() > 2


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["cross-entropy", "dlr", "targeted-dlr"])
def test_linear_boundaries_within_the_ball_are_crossed_and_those_beyond_are_not(
    linear: Any, pictures: Any, norm: Any, loss: str
) -> None:
    classifier = linear()
    images = 0.4 + 0.2 * pictures(40, 6)
    logits = classifier.logits(images)
    labels = logits.argmax(axis=1)
    apart = (logits[np.arange(40), labels][:, None] - logits).astype(np.float64)
    slopes = (classifier.weights[labels][:, None] - classifier.weights[None]).reshape(40, 5, -1)
    dual = np.abs(slopes).sum(axis=2) if norm == "linf" else np.linalg.norm(slopes, axis=2)
    distance = np.where(dual > 0, apart / np.where(dual > 0, dual, 1), np.inf).min(axis=1)
    epsilon = float(np.median(distance))
    threat, oracle = threat_of(norm, epsilon), Oracle(classifier, images, labels, np.arange(40))
    streams = Streams(0, "test", oracle.index, like=images)
    if loss == "targeted-dlr":
        made = apgd_targeted(oracle, threat, streams)
    else:
        made = apgd(oracle, threat, streams, loss=loss)
    fallen = oracle.fooled(oracle.logits(made, np.arange(40)), np.arange(40))
    assert not fallen[distance > 1.0001 * epsilon].any()
    # An untargeted loss may climb towards the wrong class.
    assert fallen[distance < 0.999 * epsilon].mean() >= (1 if loss == "targeted-dlr" else 0.8)


def test_targets_are_the_classes_after_the_first_by_falling_logits(weighted: Any) -> None:
    """No class can be reached, so each is tried in its turn."""
    weights = np.zeros((6, *SHAPE))
    classifier = weighted(weights + np.arange(6)[:, None, None, None] * 1e-6, [9, 3, 8, 5, 7, 1])
    images = np.full((2, *SHAPE), 0.5, np.float32)
    labels = np.array([0, 0])
    seen: list[int] = []
    asked = classifier.logits_and_gradient

    def watched(*given: Any, targets: Any, **options: Any) -> Any:
        seen.append(int(targets[0]))
        return asked(*given, targets=targets, **options)

    classifier.logits_and_gradient = watched
    oracle = Oracle(classifier, images, labels, np.arange(2))
    streams = Streams(0, "test", oracle.index, like=images)
    apgd_targeted(oracle, threat_of("linf", 0.01), streams, steps=1, classes=4)
    assert seen == [2, 2, 4, 4, 3, 3, 1, 1]
    seen.clear()
    apgd_targeted(oracle, threat_of("linf", 0.01), streams, steps=1)
    assert seen[::2] == [2, 4, 3, 1, 5]  # there are five others, not nine


@every_norm
@pytest.mark.parametrize("targeted", [False, True])
def test_every_library_gives_the_same(
    placed: Callable[[Any], Any], linear: Any, attackable: Any, norm: Any, targeted: bool
) -> None:
    classifier, threat = linear(), threat_of(norm, EPSILONS[norm])

    def made(**options: Any) -> Any:
        oracle, streams = attackable(classifier, 4, **options)
        attack: Any = apgd_targeted if targeted else apgd
        return attack(oracle, threat, streams, steps=5)

    expected, found = made(), made(placed=placed)
    assert namespace(found) is namespace(placed(expected))
    assert to_host(found).dtype == np.float32
    np.testing.assert_allclose(to_host(found), expected, atol=2e-5)


def test_the_targeted_loss_needs_four_classes(linear: Any, attackable: Any) -> None:
    oracle, streams = attackable(linear(3))
    with pytest.raises(InputMismatch, match="needs 4 classes, the classifier has 3"):
        apgd_targeted(oracle, threat_of("linf", 0.1), streams)


@pytest.mark.parametrize("steps", [0, -3])
def test_runs_without_steps_are_refused(linear: Any, attackable: Any, steps: int) -> None:
    oracle, streams = attackable(linear())
    with pytest.raises(ValueError, match=f"steps is {steps}; accepted are whole numbers from 1"):
        apgd(oracle, threat_of("linf", 0.1), streams, steps=steps)
