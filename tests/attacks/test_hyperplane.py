"""Projection onto a hyperplane inside the box, against general solvers of the same problem."""

from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq, linprog

from specprobe.arrays import to_host
from specprobe.attacks.hyperplane import dual_norm, hyperplane_steps

NORMS = ("linf", "l2", "l1")


def cases(count: int, *, pixels: int = 7, seed: int = 0) -> tuple[Any, Any, Any]:
    """Points with many pixels at the ends of the range, weights with zeros and ties, hyperplanes near and far."""
    random = np.random.default_rng(seed)
    points = np.clip(random.uniform(-0.4, 1.4, (count, pixels)), 0, 1)
    normals = random.normal(size=(count, pixels)) * (random.uniform(size=(count, pixels)) > 0.2)
    normals[::5] = np.round(normals[::5])
    values = random.normal(size=count) * random.choice([0.1, 1, 3], count)
    return points, normals, values


def size(steps: Any, norm: str) -> Any:
    return np.linalg.norm(steps, ord={"linf": np.inf, "l2": 2, "l1": 1}[norm], axis=-1)


def capacity(points: Any, normals: Any, values: Any) -> Any:
    """Largest change of ``<w, x>`` towards the zero that the box allows."""
    directions = -np.sign(values)[:, None] * normals
    return np.sum(np.where(directions > 0, directions * (1 - points), -directions * points), axis=1)


def shortest(point: Any, normal: Any, value: float, norm: str) -> float:
    """Length of the shortest step to the hyperplane in the box, by general solvers."""
    n = len(point)
    if norm == "l2":  # the optimum is clip(x + λ w) for one λ, and <w, clip(x + λ w)> grows with it
        far = 2 / np.abs(normal[normal != 0]).min()

        def residual(multiplier: float) -> float:
            return value + float(normal @ (np.clip(point + multiplier * normal, 0, 1) - point))

        found = brentq(residual, -far, far, xtol=1e-14)
        return float(np.linalg.norm(np.clip(point + found * normal, 0, 1) - point))
    if norm == "linf":  # over (step, τ): τ is least with |step_i| <= τ
        cost = np.r_[np.zeros(n), 1]
        above = np.block([[np.eye(n), -np.ones((n, 1))], [-np.eye(n), -np.ones((n, 1))]])
        bounds = [*zip(-point, 1 - point, strict=True), (0, None)]
        solved = linprog(
            cost, A_ub=above, b_ub=np.zeros(2 * n), A_eq=[np.r_[normal, 0]], b_eq=-value, bounds=bounds
        )
    else:  # over the parts of a step upwards and downwards
        bounds = [*((0, 1 - p) for p in point), *((0, p) for p in point)]
        solved = linprog(np.ones(2 * n), A_eq=[np.r_[normal, -normal]], b_eq=-value, bounds=bounds)
    assert solved.status == 0
    return float(solved.fun)


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
def test_steps_are_as_short_as_general_solvers_find_them(norm: Any) -> None:
    points, normals, values = cases(400)
    steps = hyperplane_steps(points, normals, values, norm=norm)
    reachable = capacity(points, normals, values) > np.abs(values) + 1e-9
    assert 100 < reachable.sum() < 390
    residuals = values + np.sum(normals * steps, axis=1)
    assert np.abs(residuals[reachable]).max() < 1e-12
    for i in np.flatnonzero(reachable):
        wanted = shortest(points[i], normals[i], values[i], norm)
        assert size(steps[i], norm) == pytest.approx(wanted, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_steps_stay_in_the_box_and_come_as_near_as_it_allows(norm: Any) -> None:
    points, normals, values = cases(2000, seed=1)
    steps = hyperplane_steps(points, normals, values, norm=norm)
    assert (points + steps).min() >= 0
    assert (points + steps).max() <= 1
    left = np.abs(values) - capacity(points, normals, values)
    residuals = np.abs(values + np.sum(normals * steps, axis=1))
    np.testing.assert_allclose(residuals, np.maximum(left, 0), atol=1e-12)
    beyond = left > 0
    corner = np.where(-values[:, None] * normals > 0, 1.0, 0.0)
    moved = (points + steps)[beyond]
    # The nearest corner where a pixel counts; where it does not, the pixel itself.
    np.testing.assert_allclose(moved, np.where(normals != 0, corner, points)[beyond], atol=1e-15)


@pytest.mark.parametrize("norm", NORMS)
def test_away_from_the_box_the_length_is_the_value_over_the_dual_norm(norm: Any) -> None:
    random = np.random.default_rng(2)
    points = random.uniform(0.4, 0.6, (50, 3, 4, 5)).astype(np.float32)
    normals = random.normal(size=points.shape).astype(np.float32)
    values = random.normal(size=50).astype(np.float32) * 0.1
    steps = hyperplane_steps(points, normals, values, norm=norm)
    assert steps.dtype == np.float32
    wanted = np.abs(values) / dual_norm(normals, norm=norm)
    np.testing.assert_allclose(size(steps.reshape(50, -1), norm), wanted, rtol=1e-5)


def test_dual_norms_are_those_of_numpy() -> None:
    gradients = np.random.default_rng(3).normal(size=(6, 3, 2, 2)).astype(np.float32)
    for norm, order in (("linf", 1), ("l2", 2), ("l1", np.inf)):
        wanted = np.linalg.norm(gradients.reshape(6, -1).astype(np.float64), ord=order, axis=1)
        np.testing.assert_allclose(dual_norm(gradients, norm=norm), wanted, rtol=1e-6)  # type: ignore[arg-type]
    assert dual_norm(np.zeros((1, 2), np.float32), norm="l2")[0] == 0


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scale", [1e-40, 1e-25, 1e25])
def test_tiny_and_huge_weights_do_not_overflow(norm: Any, scale: float) -> None:
    points, normals, values = cases(40, seed=4)
    usual = hyperplane_steps(points, normals, values, norm=norm)
    scaled = hyperplane_steps(
        points.astype(np.float32), (normals * scale).astype(np.float32), values * scale, norm=norm
    )
    # Weights of 1e-40 have 16 bits left, and ties among them break.
    np.testing.assert_allclose(size(scaled, norm), size(usual, norm), rtol=1e-3, atol=1e-4)
    far = hyperplane_steps(
        np.array([[0.25]], np.float32),
        np.array([[1e-38]], np.float32),
        np.array([1e9], np.float64),
        norm=norm,
    )
    assert far.tolist() == [[-0.25]]


@pytest.mark.parametrize("norm", NORMS)
def test_without_weights_or_distance_nothing_moves(norm: Any) -> None:
    points = np.array([[0, 0.5, 1], [0, 0.5, 1]], np.float32)
    normals, values = np.array([[0, 0, 0], [1, -2, 3]], np.float32), np.array([1, 0], np.float32)
    assert not hyperplane_steps(points, normals, values, norm=norm).any()


@pytest.mark.parametrize("norm", NORMS)
def test_each_library_gives_the_same_steps(placed: Any, norm: Any) -> None:
    given = [x.astype(np.float32) for x in cases(60, seed=5)]
    steps = hyperplane_steps(*(placed(x) for x in given), norm=norm)
    assert type(steps) is type(placed(given[0]))
    np.testing.assert_allclose(to_host(steps), hyperplane_steps(*given, norm=norm), atol=1e-6)


def test_large_images_in_single_precision_reach_the_hyperplane() -> None:
    random = np.random.default_rng(6)
    points = random.choice(np.array([0, 0.3, 0.9, 1], np.float32), (2, 3, 224, 224))
    normals = random.normal(size=points.shape).astype(np.float32) ** 3
    for share in (1e-4, 0.1, 0.9, 0.999):
        flat = points.reshape(2, -1).astype(np.float64), normals.reshape(2, -1).astype(np.float64)
        values = share * capacity(*flat, np.ones(2))
        for norm in NORMS:
            steps = hyperplane_steps(points, normals, values, norm=norm)  # type: ignore[arg-type]
            reached = np.sum(normals.astype(np.float64) * steps, axis=(1, 2, 3))
            np.testing.assert_allclose(reached, -values, rtol=1e-4)


def test_other_norms_are_refused() -> None:
    calls: list[Any] = [hyperplane_steps, lambda p, w, v, norm: dual_norm(w, norm=norm)]
    for call in calls:
        with pytest.raises(ValueError, match="norm is 'l0'; accepted are 'linf', 'l2' and 'l1'"):
            call(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros(1), norm="l0")
