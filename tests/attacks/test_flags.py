"""Flags: each raised by the model that it is for, and by no other."""

from typing import Any

import numpy as np
import pytest

import specprobe
from specprobe.attacks.flags import CHECKED_IMAGES, check_clean
from specprobe.findings import Finding

attack: Any = specprobe.attack


class Ball:
    epsilon, norm, band = 0.1, "linf", None

    def size(self, perturbations: Any, /) -> Any:
        return np.abs(perturbations).max(axis=(1, 2, 3)).astype(np.float64)


class Linear:
    """Logits are four pixels, with their gradient."""

    classes = 4

    def logits(self, images: Any, /) -> Any:
        return 3 * images[:, 0, 0, :4] - 1

    def gradient(
        self, images: Any, labels: Any, /, *, loss: str = "cross-entropy", targets: Any = None
    ) -> Any:
        gradients = np.zeros_like(images)
        gradients[np.arange(len(labels)), 0, 0, labels] = -1
        return np.ones(len(labels)), gradients

    def vjp(self, images: Any, cotangent: Any, /) -> Any:
        return np.zeros_like(images)


class Softmax(Linear):
    def logits(self, images: Any, /) -> Any:
        powers = np.exp(10 * images[:, 0, 0, :4])
        return powers / powers.sum(axis=1, keepdims=True)


class Saturated(Linear):
    """No gradient for images whose first pixel is above a half; not a number above nine tenths."""

    def gradient(
        self, images: Any, labels: Any, /, *, loss: str = "cross-entropy", targets: Any = None
    ) -> Any:
        losses, gradients = super().gradient(images, labels)
        gradients[images[:, 0, 0, 0] > 0.5] = 0
        gradients[images[:, 0, 0, 0] > 0.9] = np.nan
        return losses, gradients


class Noisy(Linear):
    def __init__(self, size: float) -> None:
        self.size, self.random = size, np.random.default_rng(0)

    def logits(self, images: Any, /) -> Any:
        return super().logits(images) + self.random.normal(0, self.size, (len(images), 4)).astype(np.float32)


def images_of(count: int) -> Any:
    return np.random.default_rng(1).uniform(0, 1, (count, 1, 4, 4)).astype(np.float32)


def nothing(oracle: Any, threat: Any, streams: Any, /) -> Any:
    return oracle.images


def codes(classifier: Any, **options: Any) -> dict[str, str]:
    result = attack(classifier, images_of(100), attack=nothing, threat=Ball(), **options)
    assert all(flag.level == "warning" for flag in result.flags)
    return {flag.code: flag.message for flag in result.flags}


def test_a_plain_model_raises_none() -> None:
    assert codes(Linear()) == {}


def test_probabilities_are_told_from_logits() -> None:
    found = codes(Softmax())
    assert list(found) == ["probabilities"]
    assert "attack the logits before the softmax: --output NAME" in found["probabilities"]


def test_images_without_a_gradient_are_counted() -> None:
    images = images_of(100)
    found = codes(Saturated())
    checked = np.concatenate([images[:CHECKED_IMAGES], images[64 : 64 + CHECKED_IMAGES]])
    count = int((checked[:, 0, 0, 0] > 0.5).sum())
    assert 0 < count < 32
    assert list(found) == ["vanishing-gradients"]
    assert f"at {count} of 32 images checked ({count / 32:.1%})" in found["vanishing-gradients"]


def test_models_that_answer_at_random_are_found_out() -> None:
    found = codes(Noisy(0.1))
    assert list(found) == ["not-deterministic"]
    assert "of 32 images differ when they are run again" in found["not-deterministic"]
    assert codes(Noisy(1e-6)) == {}, "rounding"


def test_what_is_known_of_the_model_is_a_flag_once() -> None:
    known = [
        Finding(level="warning", code="zero-gradient", message="Round has zero gradient", node="r"),
        Finding(level="warning", code="random-operator", message="Bernoulli is random", node="b"),
        Finding(level="note", code="opset-raised", message="nothing to do with it"),
    ]

    class Known(Linear):
        findings = tuple(known[:1])

    result = attack(Known(), images_of(10), attack=nothing, threat=Ball(), findings=known)
    assert [(flag.code, flag.node) for flag in result.flags] == [
        ("zero-gradient", "r"),
        ("random-operator", "b"),
    ]
    again = type(result).from_dict(result.to_dict())
    assert again.flags == result.flags


def test_gradients_are_looked_at_where_an_attack_uses_them() -> None:
    images = images_of(20)
    logits, labels = Saturated().logits(images), np.zeros(20, np.int64)
    with_gradients = check_clean(Saturated(), images, logits, labels, gradients=True, batch_size=7)
    without = check_clean(Saturated(), images, logits, labels, gradients=False, batch_size=7)
    assert (with_gradients.checked, with_gradients.differentiated) == (16, 16)
    assert with_gradients.without_gradient == int((images[:16, 0, 0, 0] > 0.5).sum())
    assert (without.checked, without.differentiated, without.without_gradient) == (16, 0, 0)


def outcome(**changed: Any) -> Any:
    from dataclasses import replace

    result = attack(Linear(), images_of(10), attack=nothing, threat=Ball())
    return replace(result, **changed)


def test_square_behind_gradients_tells_of_masking() -> None:
    members = ("apgd-ce", "apgd-t", "fab-t", "square")
    masked = outcome(members=members, member_fallen=(3, 1, 0, 2), moved=10, standing=4)
    (flag,) = masked.flags
    assert flag.code == "gradient-masking"
    assert "broke 2 of 6 images (33.3%)" in flag.message
    assert outcome(members=members, member_fallen=(3, 1, 2, 0), moved=10, standing=4).flags == ()
    alone = outcome(members=("square",), member_fallen=(6,), moved=10, standing=4)
    assert alone.flags == (), "nothing to compare it with"


@pytest.mark.parametrize(
    ("classes", "members", "told"),
    [
        (4, ("apgd-ce", "apgd-t"), None),
        (
            3,
            ("apgd-ce", "apgd-dlr"),
            "3 classes, and the loss of apgd-t needs 4: apgd-dlr was taken in its place",
        ),
        (2, ("apgd-ce", "square"), "2 classes, and the loss of apgd-t needs 4: it was left out"),
    ],
)
def test_losses_that_need_more_classes_are_told(
    classes: int, members: tuple[str, ...], told: str | None
) -> None:
    flags = outcome(attack="standard", members=members, member_fallen=(0, 0), classes=classes).flags
    assert [flag.code for flag in flags] == ["few-classes"] * (told is not None)
    assert all((told or "") in flag.message for flag in flags)


def test_energy_outside_the_band_is_told() -> None:
    (flag,) = outcome(band="0:2", mean_leakage=0.02, max_leakage=0.3).flags
    assert flag.code == "band-leakage"
    assert "up to 30.0% of a perturbation's energy lies outside the band 0:2 (mean 2.0%)" in flag.message
    assert outcome(band="0:2", mean_leakage=0.001, max_leakage=0.009).flags == ()
