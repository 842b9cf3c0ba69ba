"""Balls cut by the box: nothing ever leaves them, steps are the steepest, random starts fill them."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from specprobe.arrays import namespace, to_host
from specprobe.attacks.norms import L1, L2, NORMS, LInf, movable, threat_of
from specprobe.attacks.streams import Streams
from specprobe.attacks.subspaces import BandLimited

SHAPE = (3, 6, 5)
EPSILONS = {"linf": 0.1, "l2": 0.7, "l1": 4.0}
every_norm = pytest.mark.parametrize("norm", NORMS)


def sizes(perturbations: Any, norm: str) -> Any:
    """Norms, in float64, written once more."""
    flat = np.abs(to_host(perturbations).astype(np.float64)).reshape(len(perturbations), -1)
    return {"linf": flat.max(axis=1), "l2": np.sqrt((flat**2).sum(axis=1)), "l1": flat.sum(axis=1)}[norm]


def pictures(seed: int, count: int = 6) -> Any:
    """Images with many pixels at 0 and 1."""
    drawn = np.random.default_rng(seed).uniform(-0.5, 1.5, (count, *SHAPE))
    return np.clip(drawn, 0, 1).astype(np.float32)


def check_inside(images: Any, candidates: Any, norm: str, epsilon: float) -> None:
    made = to_host(candidates)
    assert made.dtype == np.float32
    assert made.min() >= 0
    assert made.max() <= 1
    allowed = epsilon + 1e-6 if norm == "linf" else epsilon * (1 + 1e-5)
    assert (sizes(made - to_host(images), norm) <= allowed).all()


@given(
    norm=st.sampled_from(sorted(NORMS)),
    epsilon=st.floats(1e-3, 30),
    scale=st.floats(1e-3, 1e3),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=150, deadline=None)
def test_projections_are_in_ball_and_box_and_stay_there(
    norm: Any, epsilon: float, scale: float, seed: int
) -> None:
    threat, images = threat_of(norm, epsilon), pictures(seed)
    far = images + np.float32(scale) * np.random.default_rng(seed).normal(size=images.shape).astype(
        np.float32
    )
    made = threat.project(images, far)
    check_inside(images, made, norm, epsilon)
    np.testing.assert_allclose(threat.project(images, made), made, rtol=0, atol=3e-7)
    np.testing.assert_array_equal(images, pictures(seed))


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("level", [0.3, 0.7, 1.0])
def test_equal_roundings_of_many_pixels_do_not_add_up(norm: Any, level: float) -> None:
    images = np.full((1, 3, 100, 100), level, np.float32)
    for epsilon in np.linspace(0.3, 0.4, 8):
        for sign in (-1, 1):
            made = threat_of(norm, float(epsilon)).project(images, images + np.float32(sign * 0.3))
            check_inside(images, made, norm, epsilon)


@every_norm
def test_candidates_inside_are_left_alone(norm: Any) -> None:
    threat, images = threat_of(norm, EPSILONS[norm]), pictures(0)
    step = np.random.default_rng(0).normal(size=images.shape).astype(np.float32)
    near = np.clip(images + 0.5 * EPSILONS[norm] * step / sizes(step, norm)[:, None, None, None], 0, 1)
    near = near.astype(np.float32)
    np.testing.assert_allclose(threat.project(images, near), near, rtol=0, atol=2e-7)


def test_l1_projections_are_the_nearest() -> None:
    """In the Euclidean norm, by a solver that knows neither; with changes that the box cuts, and others."""
    cut = 0
    for seed, epsilon in ((4, 0.8), (5, 1.5), (6, 2.0), (7, 2.0)):
        random = np.random.default_rng(seed)
        image = np.clip(random.uniform(-0.2, 1.2, (1, 1, 2, 3)), 0, 1).astype(np.float32)
        far = image + random.normal(size=image.shape).astype(np.float32)
        made = L1(epsilon).project(image, far)
        start, goal, count = image.ravel().astype(np.float64), far.ravel().astype(np.float64), image.size
        # A part up and a part down of each change make the bound linear.
        found = minimize(
            lambda v, start=start, goal=goal, count=count: (
                (start + v[:count] - v[count:] - goal) ** 2
            ).sum(),
            np.zeros(2 * count),
            bounds=[*((0, x) for x in 1 - start), *((0, x) for x in start)],
            constraints={"type": "ineq", "fun": lambda v, epsilon=epsilon: epsilon - v.sum()},
            options={"ftol": 1e-14, "maxiter": 1000},
        )
        expected = start + found.x[:count] - found.x[count:]
        np.testing.assert_allclose(made.ravel(), expected, atol=2e-5)
        cut += (((made == 0) | (made == 1)) & (made != image)).sum()
    assert cut > 2


def test_linf_projections_are_the_nearest_in_every_pixel() -> None:
    images = pictures(1)
    far = images + np.random.default_rng(1).normal(size=images.shape).astype(np.float32)
    clean, goal = images.astype(np.float64), far.astype(np.float64)
    expected = np.clip(np.clip(goal, clean - 0.3, clean + 0.3), 0, 1)
    np.testing.assert_allclose(LInf(0.3).project(images, far), expected, atol=1e-7)


def test_l2_reaches_the_edge_of_the_ball_wherever_the_box_leaves_room() -> None:
    images = pictures(2)
    far = images + 5 * np.random.default_rng(2).normal(size=images.shape).astype(np.float32)
    np.testing.assert_allclose(sizes(L2(0.7).project(images, far) - images, "l2"), 0.7, rtol=1e-5)


@every_norm
def test_steepest_is_of_norm_one_and_the_best_of_many(norm: Any) -> None:
    random = np.random.default_rng(5)
    gradients = random.normal(size=(8, *SHAPE)).astype(np.float32)
    best = threat_of(norm, 1.0).steepest(gradients)
    np.testing.assert_allclose(sizes(best, norm), 1, rtol=1e-6)
    gained = (best * gradients).sum(axis=(1, 2, 3))
    dual = {"linf": sizes(gradients, "l1"), "l2": sizes(gradients, "l2")}
    if norm in dual:
        np.testing.assert_allclose(gained, dual[norm], rtol=1e-5)
    for _ in range(50):
        other = random.normal(size=gradients.shape)
        other /= sizes(other, norm)[:, None, None, None]
        assert ((other * gradients).sum(axis=(1, 2, 3)) <= gained * (1 + 1e-5)).all()


def test_l1_steps_move_the_twentieth_with_the_largest_gradients() -> None:
    gradients = np.random.default_rng(6).normal(size=(3, 1, 10, 20)).astype(np.float32)
    step = L1(2.0).steepest(gradients).reshape(3, -1)
    for one, gradient in zip(step, gradients.reshape(3, -1), strict=True):
        chosen = np.argsort(-np.abs(gradient))[:10]
        assert set(np.flatnonzero(one)) == set(chosen)
        np.testing.assert_allclose(one[chosen], np.sign(gradient[chosen]) / 10)


@every_norm
def test_steepest_is_zero_where_the_gradient_is_and_of_norm_one_where_it_is_tiny(norm: Any) -> None:
    gradients = np.zeros((2, *SHAPE), np.float32)
    gradients[1] = 1e-30 * np.random.default_rng(7).normal(size=SHAPE)
    made = threat_of(norm, 1.0).steepest(gradients)
    assert not made[0].any()
    np.testing.assert_allclose(sizes(made, norm)[1], 1, rtol=1e-5)


@every_norm
@pytest.mark.parametrize("on_sphere", [False, True])
def test_random_starts_are_inside_and_fill_the_ball(norm: Any, on_sphere: bool) -> None:
    """Around a grey image the box is far away: radii are as those of a uniform law."""
    epsilon, count, entries = EPSILONS[norm] / 2, 400, 90
    threat, rows = threat_of(norm, epsilon), np.arange(count)
    images = pictures(8, count)
    streams = Streams(0, "start", rows, like=images)
    check_inside(images, threat.random_start(images, streams, rows, on_sphere=on_sphere), norm, epsilon)
    grey = np.full_like(images, 0.5)
    moved = threat.random_start(grey, streams, rows, on_sphere=on_sphere) - grey
    radii = sizes(moved, norm) / epsilon
    if on_sphere:
        np.testing.assert_allclose(radii, 1, rtol=1e-4)
    else:  # P(radius < r) = r^d, so the d-th powers are uniform
        powers = np.sort(radii**entries)
        assert np.abs(powers - (np.arange(count) + 0.5) / count).max() < 0.1
    assert np.abs(moved.mean(axis=0)).max() < 5 * moved.std() / np.sqrt(count)


def test_random_starts_draw_for_each_image_by_itself() -> None:
    images = pictures(9)
    for norm in NORMS:
        threat, rows = threat_of(norm, 0.3), np.array([4, 1])
        streams = (Streams(1, "start", np.arange(6), like=images) for _ in range(2))
        every = threat.random_start(images, next(streams), np.arange(6))
        some = threat.random_start(images[rows], next(streams), rows)
        np.testing.assert_array_equal(every[rows], some)


@every_norm
def test_every_library_gives_the_same(placed: Callable[[Any], Any], norm: Any) -> None:
    threat, images = threat_of(norm, EPSILONS[norm]), pictures(10)
    gradients = np.random.default_rng(10).normal(size=images.shape).astype(np.float32)
    rows = np.arange(len(images))

    def everything(place: Callable[[Any], Any]) -> list[Any]:
        x, g = place(images), place(gradients)
        streams = Streams(2, "start", rows, like=x)
        return [
            threat.size(g),
            threat.steepest(g),
            threat.project(x, x + g),
            movable(threat, x, g),
            threat.random_start(x, streams, rows),
            threat.random_start(x, streams, rows, on_sphere=True),
        ]

    for made, expected in zip(everything(placed), everything(np.asarray), strict=True):
        assert namespace(made) is namespace(placed(images))
        assert to_host(made).dtype == expected.dtype
        np.testing.assert_allclose(to_host(made), expected, rtol=2e-6, atol=3e-7)
    assert to_host(threat.size(placed(gradients))).dtype == np.float64


def test_sizes_are_known() -> None:
    delta = np.zeros((1, 1, 2, 2), np.float32)
    delta[0, 0] = [[3, -4], [0, 0]]
    assert [float(ball(9).size(delta)[0]) for ball in (LInf, L2, L1)] == [4, 5, 7]


def test_gradients_out_of_the_box_do_not_count_in_l1() -> None:
    images = np.array([0, 0, 1, 1, 0.5, 0.5], np.float32).reshape(1, 1, 2, 3)
    gradients = np.array([-1, 1, -1, 1, -1, 1], np.float32).reshape(1, 1, 2, 3)
    assert movable(L1(1.0), images, gradients).ravel().tolist() == [0, 1, -1, 0, -1, 1]
    for threat in (LInf(1.0), L2(1.0)):
        assert movable(threat, images, gradients) is gradients


@every_norm
@pytest.mark.parametrize("epsilon", [0.0, -1.0, np.inf, np.nan])
def test_radii_that_hold_nothing_or_everything_are_refused(norm: Any, epsilon: float) -> None:
    with pytest.raises(ValueError, match=r"epsilon is .*; accepted are finite numbers above 0"):
        threat_of(norm, epsilon)


def test_threats_by_name() -> None:
    assert threat_of("l2", 0.5) == L2(0.5)
    banded: Any = threat_of("linf", 0.1, band="0:3", shape=(1, 8, 8))
    assert isinstance(banded, BandLimited)
    assert (banded.norm, banded.epsilon, banded.band) == ("linf", 0.1, "0:3")
    assert threat_of("l1", 1.0).band is None
    assert pickle.loads(pickle.dumps(banded)) == banded
    with pytest.raises(ValueError, match="norm is 'l3'; accepted are linf, l2, l1"):
        threat_of("l3", 1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs the shape"):
        threat_of("l2", 1.0, band="0:3")
