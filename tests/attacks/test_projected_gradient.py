"""FGSM and PGD, where the best is known and where it is not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specprobe
from specprobe.arrays import namespace, to_host
from specprobe.attacks.norms import NORMS, threat_of
from specprobe.attacks.oracle import Oracle
from specprobe.attacks.projected_gradient import fgsm, pgd
from specprobe.attacks.streams import Streams

SHAPE = (3, 6, 6)
EPSILONS = {"linf": 0.004, "l2": 0.04, "l1": 0.2}
every_norm = pytest.mark.parametrize("norm", NORMS)
every_attack = pytest.mark.parametrize("attack", [fgsm, pgd])


def losses(classifier: Any, oracle: Oracle, images: Any) -> Any:
    return np.asarray(classifier.gradient(to_host(images), oracle.labels)[0])


@pytest.mark.parametrize("norm", ["linf", "l2"])
@every_attack
def test_of_two_linear_logits_the_worst_is_met(weighted: Any, attack: Any, norm: Any) -> None:
    """Far from the box the difference of the logits falls by epsilon times its dual norm; both attacks get there."""
    random = np.random.default_rng(0)
    weights = random.normal(size=(2, *SHAPE))
    classifier = weighted(weights, [0, 30])  # nothing is fooled, so the loss is climbed to its end
    images = random.uniform(0.4, 0.6, (6, *SHAPE)).astype(np.float32)
    oracle = Oracle(classifier, images, np.ones(6, np.int64), np.arange(6))
    threat = threat_of(norm, EPSILONS[norm])
    made = attack(oracle, threat, Streams(0, "test", oracle.index, like=images))
    slope = (weights[0] - weights[1]).ravel()
    dual = np.abs(slope).sum() if norm == "linf" else np.linalg.norm(slope)
    before, after = (np.diff(classifier.logits(x), axis=1)[:, 0] for x in (images, made))
    np.testing.assert_allclose(before - after, threat.epsilon * dual, rtol=0.05 if attack is pgd else 1e-4)


@every_norm
@every_attack
def test_nothing_leaves_ball_and_box_or_is_written_into(
    linear: Any, attackable: Any, attack: Any, norm: Any
) -> None:
    classifier = linear(wavy=True)
    for scale in (0.1, 1, 10):
        oracle, streams = attackable(classifier)
        oracle.images.setflags(write=False)
        threat = threat_of(norm, scale * EPSILONS[norm])
        made = attack(oracle, threat, streams)
        assert made.shape == oracle.images.shape
        assert made.min() >= 0
        assert made.max() <= 1
        slack = 1e-6 if norm == "linf" else 1e-5 * threat.epsilon
        assert (threat.size(made - oracle.images) <= threat.epsilon + slack).all()


@every_norm
@pytest.mark.parametrize("band", [None, "0:2"])
def test_an_image_fares_alike_in_any_batch(linear: Any, attackable: Any, norm: Any, band: str | None) -> None:
    """To the bit: images that fall, and leave the batch, change nothing for those that stand."""
    classifier = linear(wavy=True)
    threat = threat_of(norm, EPSILONS[norm], band=band, shape=SHAPE)
    oracle, streams = attackable(classifier)
    every = pgd(oracle, threat, streams, steps=8)
    fallen = oracle.fooled(oracle.logits(every, np.arange(12)), np.arange(12))
    assert 0 < fallen.sum() < 12
    for rows in ([3], [7, 2], [11, 0, 5, 6, 1, 8]):
        part, own = attackable(classifier, rows=rows)
        np.testing.assert_array_equal(pgd(part, threat, own, steps=8), every[rows])


@every_norm
def test_images_that_have_fallen_cost_nothing_further(
    linear: Any, attackable: Any, counting: Any, norm: Any
) -> None:
    watched = counting(linear(wavy=True))
    oracle, streams = attackable(watched)
    watched.calls.clear()
    made = pgd(oracle, threat_of(norm, EPSILONS[norm]), streams, steps=10)
    spent = oracle.gradient_evaluations + oracle.forward_evaluations
    assert watched.images == spent.sum()
    assert max(watched.calls["logits_and_gradient"]) <= oracle.batch_size
    fallen = oracle.fooled(oracle.logits(made, np.arange(12)), np.arange(12))
    assert 0 < fallen.sum() < 12
    assert (spent[~fallen] == 11).all()  # ten gradients, and the logits of the last candidate
    assert spent[fallen].min() < 11


def test_the_first_candidate_that_fools_is_kept(linear: Any, attackable: Any) -> None:
    classifier, threat = linear(wavy=True), threat_of("linf", 0.004)
    oracle, streams = attackable(classifier)
    stopped = pgd(oracle, threat, streams, steps=8)
    oracle, streams = attackable(classifier)
    on = pgd(oracle, threat, streams, steps=8, early_stop=False)
    rows = np.arange(12)
    fell, went = (oracle.fooled(oracle.logits(x, rows), rows) for x in (stopped, on))
    assert (fell <= went).all()
    np.testing.assert_array_equal(on[~went], stopped[~went])
    first, strongest = (classifier.gradient(x, oracle.labels)[0] for x in (stopped, on))
    assert (strongest[fell] >= first[fell] - 1e-6).all()
    assert (strongest[fell] > first[fell]).any()
    fallen = oracle.fooled(oracle.logits(stopped, np.arange(12)), np.arange(12))
    assert oracle.gradient_evaluations.tolist() == [8] * 12
    # With fewer steps of the same size, those that had fallen by then are the same.
    oracle, streams = attackable(classifier)
    fewer = pgd(oracle, threat, streams, steps=3, step_size=2.5 * 0.004 / 8)
    soon = oracle.fooled(oracle.logits(fewer, np.arange(12)), np.arange(12))
    assert soon.any()
    assert fallen[soon].all()
    np.testing.assert_array_equal(fewer[soon], stopped[soon])


def test_of_what_stands_the_highest_loss_is_kept(linear: Any, pictures: Any) -> None:
    """With steps across the whole ball the last candidate is rarely the best."""
    classifier = linear(wavy=True, seed=3)
    waves = classifier.logits
    classifier.logits = lambda images: (
        waves(images) + np.array([8, 0, 0, 0, 0], np.float32)
    )  # class 0 never falls
    images = pictures(12, 5)

    class Recording(Oracle):
        def gradient(self, images: Any, rows: Any, /, **options: Any) -> Any:
            found = super().gradient(images, rows, **options)
            seen.append(np.asarray(found[1]))
            return found

    seen: list[Any] = []
    oracle = Recording(classifier, images, np.zeros(12, np.int64), np.arange(12))
    streams = Streams(0, "test", oracle.index, like=images)
    made = pgd(oracle, threat_of("linf", 0.1), streams, steps=10, step_size=0.2)
    seen.append(losses(classifier, oracle, made))  # the last candidate has no gradient, and may be the best
    np.testing.assert_allclose(seen[-1], np.max(seen, axis=0), rtol=1e-4)
    assert (np.argmax(seen[:-1], axis=0) < 9).sum() > 6


def test_without_a_random_start_no_numbers_are_linear(linear: Any, attackable: Any) -> None:
    oracle, _ = attackable(linear())
    made = pgd(oracle, threat_of("linf", 0.004), None, steps=1, step_size=0.004, random_start=False)  # type: ignore[arg-type]
    oracle, _ = attackable(linear())
    fooled = oracle.fooled(oracle.logits(made, np.arange(12)), np.arange(12))
    expected = fgsm(oracle, threat_of("linf", 0.004), None)  # type: ignore[arg-type]
    # An image that stands, and whose loss the step raised, is where FGSM put it.
    np.testing.assert_array_equal(made[~fooled], expected[~fooled])


def test_l1_steps_do_not_spend_themselves_on_pixels_that_cannot_move(weighted: Any) -> None:
    weights = np.zeros((2, 1, 4, 5))
    weights[0].ravel()[:] = np.linspace(1, 3, 20)
    images = np.zeros((1, 1, 4, 5), np.float32)
    images.ravel()[:6] = 0.9
    # The label's logit must fall: the largest gradients are those of pixels that are at 0 already.
    oracle = Oracle(weighted(weights, [5, 0]), images, np.zeros(1, np.int64), np.arange(1))
    made = fgsm(oracle, threat_of("l1", 0.5), Streams(0, "test", oracle.index, like=images))
    assert np.flatnonzero(made != images).tolist() == [5]
    np.testing.assert_allclose(images.ravel()[5] - made.ravel()[5], 0.5, rtol=1e-5)


@every_norm
@every_attack
def test_every_library_gives_the_same(
    placed: Callable[[Any], Any], linear: Any, attackable: Any, attack: Any, norm: Any
) -> None:
    classifier, threat = linear(), threat_of(norm, EPSILONS[norm])
    made = attack(*_inserted(attackable(classifier, placed=placed), threat))
    expected = attack(*_inserted(attackable(classifier), threat))
    assert namespace(made) is namespace(placed(expected))
    assert to_host(made).dtype == np.float32
    np.testing.assert_allclose(to_host(made), expected, atol=2e-5)


def _inserted(pair: Any, threat: Any) -> Any:
    return pair[0], threat, pair[1]


@pytest.mark.parametrize("steps", [0, -3])
def test_runs_without_steps_are_refused(linear: Any, attackable: Any, steps: int) -> None:
    oracle, streams = attackable(linear())
    with pytest.raises(ValueError, match=f"steps is {steps}; accepted are whole numbers from 1"):
        pgd(oracle, threat_of("linf", 0.1), streams, steps=steps)


@pytest.mark.assets
@pytest.mark.slow
def test_a_robust_network_stands_and_a_normal_one_falls(assets: Path) -> None:
    source = specprobe.load_images(assets / "data" / "cifar10_lossless_test.npz")
    batch = source.read(0, 40)
    standing = {}
    for training in ("pgd", "standard"):
        network: Any = specprobe.load(
            assets / "models" / f"cifar10_ada_resnet4b_{training}.onnx", image_shape=source.image_shape
        )
        rows = np.flatnonzero(network.logits(batch.images).argmax(axis=1) == batch.labels)
        images = np.ascontiguousarray(batch.images[rows])
        oracle = Oracle(network, images, np.asarray(batch.labels)[rows], rows)
        made = pgd(oracle, threat_of("linf", 4 / 255), Streams(0, "test", rows, like=images), steps=10)
        every = np.arange(len(rows))
        standing[training] = 1 - oracle.fooled(oracle.logits(made, every), every).mean()
    assert standing["pgd"] > 0.6
    assert standing["standard"] < 0.2


def test_a_loss_that_falls_is_not_climbed(linear: Any, attackable: Any) -> None:
    oracle, streams = attackable(linear())
    with pytest.raises(ValueError, match="'logit' falls as the label becomes less likely"):
        pgd(oracle, threat_of("linf", 0.1), streams, steps=1, loss="logit")
