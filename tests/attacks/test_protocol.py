"""Attacks in turn: on what stands, the best candidate kept, each image's fate its own."""

from typing import Any

import numpy as np
import pytest

from specprobe.attacks.catalogue import ATTACKS, Member, Settings, members_of
from specprobe.attacks.oracle import Oracle
from specprobe.attacks.protocol import Checked, run_members, within


class Ball:
    epsilon, norm, band = 0.1, "linf", None

    def size(self, perturbations: Any, /) -> Any:
        return np.abs(perturbations).max(axis=(1, 2, 3)).astype(np.float64)


BALL: Any = Ball()


class FirstPixel:
    """Class 1 where the first pixel is above a half."""

    classes = 2

    def logits(self, images: Any, /) -> Any:
        return np.stack([0.5 - images[:, 0, 0, 0], images[:, 0, 0, 0] - 0.5], axis=1)


def oracle_of(first: list[float]) -> Oracle:
    images = np.full((len(first), 1, 2, 2), 0.25, np.float32)
    images[:, 0, 0, 0] = first
    return Oracle(FirstPixel(), images, (images[:, 0, 0, 0] > 0.5).astype(np.int64), np.arange(len(first)))


def member(name: str, by: float, *, asked: list[Any] | None = None, **options: Any) -> Member:
    """Adds to the first pixel; one forward pass."""

    def function(oracle: Any, threat: Any, streams: Any, /) -> Any:
        if asked is not None:
            asked.append(oracle.index.tolist())
        made = np.array(oracle.images)
        made[:, 0, 0, 0] = np.clip(made[:, 0, 0, 0] + np.float32(by), 0, 1)
        oracle.logits(made, np.arange(len(oracle)))
        return made

    return Member(name=name, function=function, **options)


def test_each_attack_meets_only_what_those_before_it_left() -> None:
    asked: list[Any] = []
    members = [
        member("weak", 0.03, asked=asked),
        member("strong", 0.08, asked=asked),
        member("none", 0, asked=asked),
    ]
    found = run_members(oracle_of([0.1, 0.43, 0.48, 0.45]), BALL, members, seed=0)
    assert asked == [[0, 1, 2, 3], [0, 1, 3], [0]]
    assert found.member_fallen == (1, 2, 0)
    assert found.checked.fallen.tolist() == [False, True, True, True]
    assert found.forward_evaluations.tolist() == [3, 2, 1, 2]
    assert found.candidates[:, 0, 0, 0].tolist() == pytest.approx([0.18, 0.51, 0.51, 0.53])


def test_restarts_stop_where_nothing_stands() -> None:
    asked: list[Any] = []
    run_members(oracle_of([0.48, 0.49]), BALL, [member("a", 0.05, asked=asked, restarts=5)], seed=0)
    assert asked == [[0, 1]]
    run_members(oracle_of([0.1, 0.49]), BALL, [member("a", 0.05, asked=asked, restarts=3)], seed=0)
    assert asked[1:] == [[0, 1], [0], [0]]


def test_together_they_turn_whatever_one_of_them_turns() -> None:
    first = np.random.default_rng(0).uniform(0.3, 0.49, 50).tolist()
    steps = [0.02, 0.09, 0.05, 0.01]
    members = [member(str(step), step) for step in steps]
    together = run_members(oracle_of(first), BALL, members, seed=0).checked.fallen
    alone = [run_members(oracle_of(first), BALL, [one], seed=0).checked.fallen for one in members]
    assert (together >= np.any(alone, axis=0)).all()
    assert 0 < together.sum() < 50


def test_the_candidate_of_largest_margin_is_kept_for_what_stands() -> None:
    members = [member("up", 0.04), member("further", 0.08), member("back", -0.1)]
    found = run_members(oracle_of([0.1]), BALL, members, seed=0)
    assert found.candidates[0, 0, 0, 0] == pytest.approx(0.18)


def test_nearest_images_may_lie_outside_and_are_no_success() -> None:
    far, near = member("far", 0.45, minimal_norm=True), member("near", 0.42, minimal_norm=True)
    found = run_members(oracle_of([0.1, 0.45]), BALL, [far], seed=0)
    assert found.checked.misled.tolist() == [True, True]
    assert not found.checked.fallen.any()
    assert found.checked.size == pytest.approx([0.45, 0.45])
    both = run_members(oracle_of([0.1, 0.45]), BALL, [far, near, far], seed=0)
    assert both.checked.size == pytest.approx([0.42, 0.42]), "the nearer one is kept"


def test_a_bounded_protocol_keeps_no_candidate_outside() -> None:
    members = [member("pgd", 0.05), member("fab", 0.45, minimal_norm=True)]
    found = run_members(oracle_of([0.1]), BALL, members, seed=0)
    assert found.checked.inside.all()
    assert found.candidates[0, 0, 0, 0] == pytest.approx(0.15)


def test_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match="there are no images"):
        run_members(oracle_of([]), BALL, [member("a", 0.1)], seed=0)


def test_balls_allow_for_rounding() -> None:
    ball: Any = Ball()
    assert within(np.array([0.1, 0.1 + 9e-7, 0.1 + 2e-6, np.nan]), ball).tolist() == [
        True,
        True,
        False,
        False,
    ]
    ball.norm, ball.epsilon = "l2", 2.0
    assert within(np.array([2 + 1.9e-5, 2 + 3e-5]), ball).tolist() == [True, False]


def test_success_comes_before_nearness_and_margin() -> None:
    def one(*, misled: bool, inside: bool, size: float, margin: float) -> Checked:
        return Checked(*(np.array([value]) for value in (1, misled, inside, size, margin)))

    fallen = one(misled=True, inside=True, size=0.1, margin=0.1)
    outside = one(misled=True, inside=False, size=0.5, margin=3)
    standing = one(misled=False, inside=True, size=0.1, margin=-1)
    better = one(misled=False, inside=True, size=0.1, margin=-0.5)
    for nearest in (True, False):
        assert fallen.better(standing, nearest=nearest)[0]
        assert not standing.better(fallen, nearest=nearest)[0]
        assert fallen.better(outside, nearest=nearest)[0]
        assert not outside.better(fallen, nearest=nearest)[0]
        assert better.better(standing, nearest=nearest)[0]
        assert not standing.better(better, nearest=nearest)[0]
        assert not fallen.better(fallen, nearest=nearest)[0]
    assert outside.better(standing, nearest=True)[0]
    assert not outside.better(standing, nearest=False)[0]


# The catalogue


def test_standard_is_four_attacks_and_three_in_a_band() -> None:
    members, settings = members_of("standard", Settings())
    assert [member.name for member in members] == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert [member.gradients for member in members] == [True, True, True, False]
    assert (settings.steps, settings.queries, settings.step_size) == (100, 5000, None)
    banded, _ = members_of("standard", Settings(steps=5), banded=True)
    assert [member.name for member in banded] == ["apgd-ce", "apgd-t", "square"]


@pytest.mark.parametrize(
    ("classes", "second"), [(2, ["fab-t"]), (3, ["apgd-dlr", "fab-t"]), (4, ["apgd-t", "fab-t"])]
)
def test_standard_takes_losses_that_the_model_has_classes_for(classes: int, second: list[str]) -> None:
    members, _ = members_of("standard", Settings(), classes=classes)
    assert [member.name for member in members] == ["apgd-ce", *second, "square"]


@pytest.mark.parametrize(("name", "fewest"), [("apgd-t", 4), ("apgd-dlr", 3)])
def test_an_attack_is_refused_where_its_loss_needs_more_classes(name: str, fewest: int) -> None:
    members_of(name, Settings(), classes=fewest)
    with pytest.raises(
        ValueError, match=f"{name} needs a model of {fewest} classes, this one has {fewest - 1}"
    ):
        members_of(name, Settings(), classes=fewest - 1)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_is_refused_where_there_is_one_class(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} needs a model of [234] classes, this one has 1"):
        members_of(name, Settings(), classes=1)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_exists_and_takes_what_the_catalogue_says(name: str) -> None:
    import importlib
    import inspect

    members, _ = members_of(name, Settings(frequency=(1, 2)) if name == "universal" else Settings())
    for one in members:
        home, settings = one.function.args  # type: ignore[attr-defined]
        module, _, function = home.partition(":")
        signature = inspect.signature(getattr(importlib.import_module(module), function))
        signature.bind("oracle", "threat", "streams", **settings)


def test_fab_sees_to_its_restarts_itself() -> None:
    (fab,), _ = members_of("fab-t", Settings(), restarts=3)
    assert fab.restarts == 1
    assert fab.function.args[1]["restarts"] == 3  # type: ignore[attr-defined]
    assert fab.function.args[1]["early_stop"] is False, "the nearest image, not the first in the ball"  # type: ignore[attr-defined]
    assert "early_stop" not in members_of("standard", Settings())[0][2].function.args[1]  # type: ignore[attr-defined]
    (pgd,), _ = members_of("pgd", Settings(), restarts=3)
    assert pgd.restarts == 3
