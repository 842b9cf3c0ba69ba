"""Streams keyed by seed, purpose and image."""

import subprocess
import sys
from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from specprobe.randomness import generator

keys = st.tuples(st.integers(0, 2**32), st.text(max_size=20), st.integers(0, 2**40))


def draw(key: tuple[int, str, int], count: int = 4) -> list[float]:
    return [float(x) for x in generator(*key).random(count)]


@settings(max_examples=50, deadline=None)
@given(st.lists(keys, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_numbers_do_not_depend_on_the_order_of_drawing(
    keys: list[tuple[int, str, int]], random: object
) -> None:
    forwards = [draw(key) for key in keys]
    backwards = [draw(key) for key in reversed(keys)]
    assert forwards == backwards[::-1]


@settings(max_examples=50, deadline=None)
@given(st.sets(keys, min_size=2, max_size=6))
def test_every_part_of_the_key_matters(keys: set[tuple[int, str, int]]) -> None:
    drawn = {key: draw(key) for key in keys}
    for left, right in combinations(drawn.values(), 2):
        assert left != right


def test_seed_and_purpose_do_not_run_together() -> None:
    assert draw((1, "2/x", 0)) != draw((12, "/x", 0)) != draw((1, "2", 0))


def test_images_draw_from_disjoint_parts_of_the_stream() -> None:
    first = generator(0, "a", 0).random(10_000)
    second = generator(0, "a", 1).random(10_000)
    assert not np.intersect1d(first, second).size
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05


def test_numbers_are_uniform_over_images() -> None:
    """One number from each of many images: what signs and phases are made of."""
    values = np.array([generator(7, "sign", i).random() for i in range(4000)])
    assert kstest(values, "uniform").pvalue > 1e-3
    counts = np.bincount((values * 16).astype(int), minlength=16)
    assert chisquare(counts).pvalue > 1e-3


def test_another_process_draws_the_same() -> None:
    code = "from specprobe.randomness import generator; print(generator(3, 'heatmap/sign', 5).random(4).tolist())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(draw((3, "heatmap/sign", 5)))
