"""Attacks that look for the nearest image of another class, where the nearest is known and where it is not."""

from typing import Any

import numpy as np
import pytest

from specprobe.arrays import like, to_host
from specprobe.attacks.hyperplane import hyperplane_steps
from specprobe.attacks.minimal_norm import deepfool, fab_targeted
from specprobe.attacks.nearest import Nearest, logit_margins, scaled
from specprobe.attacks.norms import threat_of
from specprobe.attacks.oracle import Oracle
from specprobe.attacks.streams import Streams

NORMS = ("linf", "l2", "l1")
DUAL = {"linf": 1, "l2": 2, "l1": np.inf}
SHAPE = (3, 4, 5)


class Linear:
    """Logits are products with fixed random images; in NumPy on the host, one image at a time."""

    def __init__(self, classes: int = 5, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.classes = classes
        self.weights = random.normal(size=(classes, *SHAPE)).astype(np.float32)
        self.offsets = random.normal(size=classes).astype(np.float32)

    def inside(self, image: Any) -> Any:
        """What the logits are a function of."""
        return np.sum((image - np.float32(0.5)) * self.weights, axis=(1, 2, 3)) + self.offsets

    def logits(self, images: Any, /) -> Any:
        return like(np.stack([self.inside(x) for x in to_host(images)]), images)

    def slopes(self, image: Any) -> Any:
        return np.ones(self.classes, np.float32)

    def vjp(self, images: Any, cotangent: Any, /) -> Any:
        pairs = zip(to_host(images), to_host(cotangent), strict=True)
        found = [np.sum((c * self.slopes(x))[:, None, None, None] * self.weights, axis=0) for x, c in pairs]
        return like(np.stack(found), images)

    def gradient(self, images: Any, labels: Any, /, *, loss: str = "cross-entropy") -> Any:
        raise NotImplementedError  # these attacks need logit differences alone


class Bent(Linear):
    """Each logit is a sine of such a product, so boundaries are curved and there are many."""

    def __init__(self, classes: int = 5, *, slope: float = 1.0) -> None:
        super().__init__(classes)
        self.weights = self.weights * np.float32(slope)

    def logits(self, images: Any, /) -> Any:
        return like(np.sin(to_host(super().logits(images))), images)

    def slopes(self, image: Any) -> Any:
        return np.cos(self.inside(image))


def oracle_over(classifier: Any, images: Any, index: Any = None) -> Oracle:
    labels = np.argmax(to_host(classifier.logits(images)), axis=1)
    return Oracle(classifier, images, labels, np.arange(len(labels)) if index is None else index)


def attacked(attack: Any, oracle: Oracle, norm: Any, *, epsilon: float = 1e3, **settings: Any) -> Any:
    streams = Streams(0, "test/0", oracle.index, like=oracle.images)
    return attack(oracle, threat_of(norm, epsilon), streams, **settings)


def to_the_end(attack: Any) -> dict[str, Any]:
    return {"early_stop": False, "steps": 20} if attack is fab_targeted else {}


def sizes(made: Any, oracle: Oracle, norm: str) -> Any:
    flat = (to_host(made).astype(np.float64) - to_host(oracle.images)).reshape(len(oracle), -1)
    return np.linalg.norm(flat, ord={"linf": np.inf, "l2": 2, "l1": 1}[norm], axis=1)


def fooled(made: Any, oracle: Oracle) -> Any:
    return np.argmax(to_host(oracle.classifier.logits(made)), axis=1) != oracle.labels


def grey(count: int, *, spread: float = 0.05) -> Any:
    values = 0.5 + spread * np.random.default_rng(1).normal(size=(count, *SHAPE))
    return np.clip(values, 0, 1).astype(np.float32)


ATTACKS = pytest.mark.parametrize("attack", [deepfool, fab_targeted])
EACH_NORM = pytest.mark.parametrize("norm", NORMS)


@ATTACKS
@EACH_NORM
def test_linear_classifiers_are_fooled_at_the_known_distance(attack: Any, norm: Any) -> None:
    """Away from the box: difference of logits over the dual norm of its gradient, of the nearest class."""
    classifier = Linear()
    oracle = oracle_over(classifier, grey(60))
    logits = classifier.logits(oracle.images).astype(np.float64)
    wanted = np.full(60, np.inf)
    for row, label in enumerate(oracle.labels):
        for k in set(range(5)) - {int(label)}:
            normal = (classifier.weights[k] - classifier.weights[label]).astype(np.float64).ravel()
            distance = (logits[row, label] - logits[row, k]) / np.linalg.norm(normal, ord=DUAL[norm])
            wanted[row] = min(wanted[row], distance)
    made = attacked(attack, oracle, norm, **to_the_end(attack))
    assert fooled(made, oracle).all()
    # Nearer than that, a pixel of float32 is too coarse for the tolerance.
    far = (wanted > {"linf": 2e-3, "l2": 2e-2, "l1": 2e-2}[norm]) & (wanted < 0.4)
    assert far.sum() > 40
    np.testing.assert_allclose(sizes(made, oracle, norm)[far], wanted[far], rtol=1e-4)


@ATTACKS
@EACH_NORM
def test_against_the_box_the_optimum_is_met(attack: Any, norm: Any) -> None:
    """Two classes, many pixels at the ends of the range; the optimum is what test_hyperplane.py checks against SciPy."""
    classifier = Linear(2, seed=3)
    oracle = oracle_over(classifier, grey(60, spread=0.6))
    normals = classifier.weights[1 - oracle.labels] - classifier.weights[oracle.labels]
    logits = classifier.logits(oracle.images).astype(np.float64)
    rows = np.arange(60)
    values = logits[rows, 1 - oracle.labels] - logits[rows, oracle.labels]
    steps = hyperplane_steps(oracle.images.astype(np.float64), normals.astype(np.float64), values, norm=norm)
    reached = np.abs(values + np.sum(normals * steps, axis=(1, 2, 3))) < 1e-9
    touching = np.any(((oracle.images + steps) % 1 == 0) & (steps != 0), axis=(1, 2, 3))
    made = attacked(attack, oracle, norm, **to_the_end(attack))
    assert fooled(made, oracle)[reached].all()
    wanted = np.linalg.norm(steps.reshape(60, -1), ord={"linf": np.inf, "l2": 2, "l1": 1}[norm], axis=1)
    told = reached & (wanted > 0.02)
    assert (told & touching).sum() > 20
    # The overshoot of what the box still leaves is not in the proportions of the optimum.
    np.testing.assert_allclose(sizes(made, oracle, norm)[told], wanted[told], rtol=4e-3)


@ATTACKS
@EACH_NORM
def test_what_comes_back_is_in_the_box_and_fooled_or_clean(attack: Any, norm: Any) -> None:
    oracle = oracle_over(Bent(6), grey(40, spread=0.5))
    made = attacked(attack, oracle, norm, **to_the_end(attack))
    assert made.min() >= 0
    assert made.max() <= 1
    moved = np.any(made != oracle.images, axis=(1, 2, 3))
    assert np.array_equal(moved, fooled(made, oracle))
    assert moved.mean() > 0.9


@EACH_NORM
def test_curved_boundaries_are_met_nearer_by_the_boundary_attack_than_by_deepfool(norm: Any) -> None:
    oracle = oracle_over(Bent(6, slope=3), grey(40, spread=0.2))
    near, far = (attacked(attack, oracle, norm, **to_the_end(attack)) for attack in (fab_targeted, deepfool))
    both = fooled(near, oracle) & fooled(far, oracle)
    assert both.mean() > 0.9
    ratio = sizes(near, oracle, norm)[both] / sizes(far, oracle, norm)[both]
    assert np.median(ratio) < 1
    assert np.quantile(ratio, 0.1) < 0.9
    # On the segment to the image, the boundary is right behind it.
    behind = fooled(scaled(oracle.images, near, np.full(40, 0.98)), oracle)
    assert behind[fooled(near, oracle)].mean() < 0.2


@ATTACKS
def test_an_image_does_not_care_which_others_stand(attack: Any) -> None:
    images, chosen = grey(12, spread=0.3), np.array([9, 2, 5])
    settings = {"steps": 15, "restarts": 2} if attack is fab_targeted else {"steps": 15}
    options = {"epsilon": 0.05, **settings}
    whole = attacked(attack, oracle_over(Bent(4), images), "linf", **options)
    part = attacked(attack, oracle_over(Bent(4), images[chosen], chosen), "linf", **options)
    assert np.array_equal(part, whole[chosen])


@ATTACKS
@EACH_NORM
def test_each_library_gives_the_same_candidates(placed: Any, attack: Any, norm: Any) -> None:
    settings = {"steps": 3, "early_stop": False} if attack is fab_targeted else {}
    wanted = attacked(attack, oracle_over(Linear(), grey(6)), norm, **settings)
    found = attacked(attack, oracle_over(Linear(), placed(grey(6))), norm, **settings)
    assert type(found) is type(placed(wanted))
    np.testing.assert_allclose(to_host(found), wanted, atol=2e-5)


def test_early_stop_leaves_alone_what_lies_in_the_ball() -> None:
    images = grey(30)
    slow, fast = (oracle_over(Linear(), images) for _ in range(2))
    near = attacked(fab_targeted, slow, "linf", epsilon=0.02, steps=10, early_stop=False)
    stopped = attacked(fab_targeted, fast, "linf", epsilon=0.02, steps=10)
    assert slow.gradient_evaluations.tolist() == [40] * 30
    inside = sizes(stopped, fast, "linf") <= 0.02
    assert np.array_equal(inside, sizes(near, slow, "linf") <= 0.02)
    assert 3 < inside.sum() < 30
    assert fast.gradient_evaluations[inside].max() < 40
    assert fast.gradient_evaluations[~inside].min() == 40


@EACH_NORM
@pytest.mark.parametrize("epsilon", [0.002, 1.0])
def test_restarts_start_half_as_far_as_epsilon_and_the_nearest_allow(norm: Any, epsilon: float) -> None:
    starts: list[Any] = []

    class Watched(Oracle):
        def differences(self, images: Any, rows: Any, chosen: Any, /) -> Any:
            starts.append(images.copy())
            return super().differences(images, rows, chosen)

    classifier, images = Linear(2), grey(25)
    oracle = Watched(classifier, images, np.argmax(classifier.logits(images), axis=1), np.arange(25))
    options = {"epsilon": epsilon, "steps": 4, "early_stop": False, "search_rounds": 0}
    made = attacked(fab_targeted, oracle, norm, restarts=3, **options)
    assert np.array_equal(starts[0], images)
    far = np.minimum(sizes(attacked(fab_targeted, oracle, norm, **options), oracle, norm), epsilon) / 2
    for start in (starts[4], starts[8]):
        np.testing.assert_allclose(sizes(start, oracle, norm), far, rtol=1e-3, atol=1e-6)
    assert not np.array_equal(starts[4], starts[8])
    assert np.all(
        sizes(made, oracle, norm) <= sizes(attacked(fab_targeted, oracle, norm, **options), oracle, norm)
    )


def test_a_step_is_drawn_to_the_clean_image() -> None:
    """Published formula for l2, box out of reach: (1 - a)(x + h d) + a (x0 + h d0) with a = |d| / (|d| + |d0|), at most."""
    points: dict[str, list[Any]] = {"from": [], "to": []}

    class Watched(Oracle):
        def differences(self, images: Any, rows: Any, chosen: Any, /) -> Any:
            points["from"].append(images.copy())
            return super().differences(images, rows, chosen)

        def logits(self, images: Any, rows: Any, /) -> Any:
            points["to"].append(images.copy())
            return super().logits(images, rows)

    classifier, images = Linear(2), grey(10)
    oracle = Watched(classifier, images, np.argmax(classifier.logits(images), axis=1), np.arange(10))
    options = {"steps": 1, "restarts": 2, "extrapolation": 1.2, "largest_bias": 0.3, "search_rounds": 0}
    attacked(fab_targeted, oracle, "l2", early_stop=False, **options)
    start, end = points["from"][1].astype(np.float64), points["to"][2]
    normals = classifier.weights[1 - oracle.labels] - classifier.weights[oracle.labels]

    def step(x: Any) -> Any:
        logits = np.sum((x - 0.5)[:, None] * classifier.weights, axis=(2, 3, 4)) + classifier.offsets
        rows = np.arange(10)
        values = logits[rows, 1 - oracle.labels] - logits[rows, oracle.labels]
        return -(values / np.sum(normals**2, axis=(1, 2, 3)))[:, None, None, None] * normals

    here, there = step(start), step(images)
    near, far = (np.sqrt(np.sum(x**2, axis=(1, 2, 3), keepdims=True)) for x in (here, there))
    share = np.minimum(near / (near + far), 0.3)
    wanted = (1 - share) * (start + 1.2 * here) + share * (images + 1.2 * there)
    np.testing.assert_allclose(end, wanted, atol=1e-5)
    assert np.abs(share * (images - start)).max() > 1e-3


@pytest.mark.parametrize("classes", [2, 3, 12])
def test_targets_are_the_classes_of_largest_clean_logits(classes: int) -> None:
    seen: list[Any] = []

    class Watched(Oracle):
        def differences(self, images: Any, rows: Any, chosen: Any, /) -> Any:
            seen.append(chosen.copy())
            return super().differences(images, rows, chosen)

    classifier = Linear(classes)
    images = grey(7)
    logits = classifier.logits(images)
    labels = np.argmax(logits, axis=1)
    labels[-1] = np.argmin(logits[-1])  # a label that is not the largest logit is left out all the same
    oracle = Watched(classifier, images, labels, np.arange(7))
    attacked(fab_targeted, oracle, "l2", steps=1, targets=4, early_stop=False)
    ranked = [
        [k for k in np.argsort(-row) if k != label][:4] for row, label in zip(logits, labels, strict=True)
    ]
    assert np.array_equal(np.stack(seen, axis=1), np.stack(ranked))


@ATTACKS
def test_without_gradient_or_another_class_in_reach_the_image_stays(attack: Any) -> None:
    class Flat(Linear):
        def inside(self, image: Any) -> Any:
            return self.offsets

        def slopes(self, image: Any) -> Any:
            return np.zeros(self.classes, np.float32)

    oracle = oracle_over(Flat(), grey(3))
    for norm in NORMS:
        assert np.array_equal(attacked(attack, oracle, norm, steps=3), oracle.images)


@ATTACKS
def test_a_band_is_refused(attack: Any) -> None:
    oracle = oracle_over(Linear(), grey(2))
    threat = threat_of("l2", 1.0, band="0:2", shape=SHAPE)
    with pytest.raises(ValueError, match=f"{attack.__name__} knows no frequencies.*confined to 0:2"):
        attack(oracle, threat, Streams(0, "test/0", oracle.index, like=oracle.images))


# What they are made of


def test_margins_are_those_of_the_largest_other_logit() -> None:
    logits = np.array([[1, 3, 2], [1, 3, 2], [5, 5, 1]], np.float32)
    assert logit_margins(logits, np.array([1, 0, 1])).tolist() == [-1, 2, 0]


def test_scaled_perturbations_end_in_the_box() -> None:
    clean, ends = np.full((3, 1, 1, 2), 0.5, np.float32), np.array([[[[0, 0.7]]]] * 3, np.float32)
    made = scaled(clean, ends, np.array([0.5, 1, 2]))
    np.testing.assert_allclose(made[:, 0, 0], [[0.25, 0.6], [0, 0.7], [0, 0.9]], atol=1e-7)
    assert np.array_equal(made[1], ends[1])


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_the_search_on_the_segment_shortens_by_what_was_beyond(rounds: int) -> None:
    oracle = oracle_over(Linear(2), grey(20))
    threat = threat_of("l2", 1.0)
    exact = attacked(deepfool, oracle, "l2", search_rounds=8)
    wanted = sizes(exact, oracle, "l2")
    nearest = Nearest(oracle, threat)
    rows = np.arange(0, 20, 2)
    ends = scaled(oracle.images, exact, np.full(20, 1.5))
    nearest.offer(ends, np.arange(20), np.ones(20, bool), oracle.images)
    before = oracle.forward_evaluations.copy()
    nearest.shorten(rows, rounds=rounds)
    beyond = nearest.sizes[rows] / wanted[rows] - 1
    np.testing.assert_allclose(beyond, 0.5 * 0.05**rounds, rtol=0.1, atol=2e-4)
    np.testing.assert_allclose(nearest.sizes[1::2], 1.5 * wanted[1::2], rtol=1e-4)
    spent = oracle.forward_evaluations - before
    assert spent.tolist() == [rounds + 2 if rounds else 0, 0] * 10
    np.testing.assert_allclose(nearest.sizes, sizes(nearest.images, oracle, "l2"), rtol=1e-6)


def test_only_nearer_candidates_are_kept() -> None:
    oracle = oracle_over(Linear(2), grey(3))
    nearest, rows = Nearest(oracle, threat_of("linf", 1.0)), np.arange(3)
    first = oracle.images + np.float32(0.1)
    nearest.offer(first, rows, np.array([True, True, False]), oracle.images)
    by = np.array([0.2, 0.05, 0.01], np.float32)[:, None, None, None]
    nearest.offer(oracle.images + by, rows, np.array([True, True, False]), oracle.images)
    np.testing.assert_allclose(nearest.sizes, [0.1, 0.05, np.inf], rtol=1e-5)
    assert np.array_equal(nearest.images[0], first[0])
    assert np.array_equal(nearest.images[2], oracle.images[2])
