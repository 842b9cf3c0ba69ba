"""Square attack: its schedule and windows by hand, and its search on classifiers whose best perturbation is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specprobe
from specprobe.arrays import like, to_host
from specprobe.attacks.nearest import logit_margins
from specprobe.attacks.norms import threat_of
from specprobe.attacks.oracle import Oracle
from specprobe.attacks.square import square
from specprobe.attacks.square_moves import bump, square_moves, window_share, window_side
from specprobe.attacks.streams import Streams

EPSILONS = {"linf": 0.1, "l2": 0.8, "l1": 4.0}
SHAPE = (3, 10, 12)


class Waves:
    """Logits are sines of products with fixed random images: one image at a time, on the host, to the same bits."""

    classes = 4

    def __init__(self, slope: float = 1.0) -> None:
        self.weights = np.random.default_rng(1).normal(size=(4, *SHAPE)).astype(np.float32) * np.float32(
            slope
        )

    def logits(self, images: Any, /) -> Any:
        host = to_host(images)
        return like(np.stack([np.sin(np.sum(self.weights * x, axis=(1, 2, 3))) for x in host]), images)


class Watched(Oracle):
    """Keeps every candidate that it is asked about, by image."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.asked: dict[int, list[Any]] = {i: [] for i in range(len(self))}

    def logits(self, images: Any, rows: Any, /) -> Any:
        for row, image in zip(rows, to_host(images), strict=True):
            self.asked[row].append(image.copy())
        return super().logits(images, rows)


def pictures(count: int, *, seed: int = 0) -> Any:
    """With a fifth of the pixels at each end of the range."""
    pixels = np.random.default_rng(seed).uniform(-0.3, 1.3, (count, *SHAPE))
    return np.clip(pixels, 0, 1).astype(np.float32)


def oracle_over(images: Any, classifier: Any, index: Any = None, *, kind: Any = Oracle) -> Any:
    labels = np.argmax(to_host(classifier.logits(images)), axis=1)
    return kind(classifier, images, labels, np.arange(len(labels)) if index is None else index)


def attacked(oracle: Any, norm: Any = "linf", *, threat: Any = None, seed: int = 0, **settings: Any) -> Any:
    streams = Streams(seed, "square/0", oracle.index, like=oracle.images)
    return square(oracle, threat or threat_of(norm, EPSILONS[norm]), streams, **settings)


# Schedule and windows


@pytest.mark.parametrize(
    ("steps", "halvings"),
    [
        ((0, 10), 0),
        ((11, 50), 1),
        ((51, 200), 2),
        ((201, 500), 3),
        ((501, 1000), 4),
        ((1001, 2000), 5),
        ((2001, 4000), 6),
        ((4001, 6000), 7),
        ((6001, 8000), 8),
        ((8001, 9999), 9),
    ],
)
def test_window_share_is_the_published_table(steps: tuple[int, int], halvings: int) -> None:
    for step in steps:
        assert window_share(step, queries=10_000, largest=0.8) == 0.8 / 2**halvings
    # Half as many queries: twice as fast.
    assert window_share(steps[1] // 2, queries=5000, largest=0.8) == 0.8 / 2**halvings


def test_window_side_is_the_root_of_the_share() -> None:
    sides = [window_side(0.8 / 2**n, (32, 32)) for n in range(10)]
    assert sides == [29, 20, 14, 10, 7, 5, 4, 3, 2, 1]
    assert [window_side(0.8 / 2**n, (32, 32), fewest=3, odd=True) for n in range(7)] == [
        29,
        21,
        15,
        11,
        7,
        5,
        5,
    ]
    assert window_side(1e-9, (32, 32)) == 1
    assert window_side(0.8, (8, 200)) == 8


def test_bump_is_a_peak_above_a_trough() -> None:
    # Two pixels high, two wide: 1/1² + 1/2² at the centre of a half, 1/2² beside it.
    half = np.array([0.25, 1.25])
    np.testing.assert_allclose(bump(2, 1), np.stack([half, -half]) / 3)
    for side in (1, 3, 4, 7, 10):
        for order in (1, 2):
            pattern = bump(side, order)
            assert pattern.shape == (side, side)
            assert np.linalg.norm(pattern.ravel(), ord=order) == pytest.approx(1)
            if side > 1:
                assert np.linalg.norm(pattern[: side // 2].ravel(), ord=order) == pytest.approx(
                    0.5 ** (1 / order)
                )


def test_squares_fill_a_window_with_one_sign_a_channel_and_reach_every_place() -> None:
    clean = np.full((200, *SHAPE), 0.5, np.float32)
    moves = square_moves(threat_of("linf", 0.1), clean)
    numbers = np.random.default_rng(0).random((200, moves.numbers))
    changed = moves.propose(clean, 9 / 120, numbers) - clean
    np.testing.assert_allclose(np.abs(changed)[changed != 0], 0.1, rtol=1e-6)
    assert np.all(np.count_nonzero(changed, axis=(2, 3)) == 9)
    for axis in (2, 3):
        lines = np.any(changed != 0, axis=(1, axis))
        assert np.all(lines.sum(axis=1) == 3)
        assert np.all(lines.any(axis=0)), "the last row and column are as good as any"
    of_channel = changed.sum(axis=(2, 3))
    np.testing.assert_allclose(np.abs(of_channel), 0.9, rtol=1e-5)
    assert len(np.unique(np.sign(of_channel), axis=0)) == 8


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_bumps_move_what_another_window_gives_up(norm: Any) -> None:
    threat, order = threat_of(norm, 0.2), {"l2": 2, "l1": 1}[norm]
    clean = np.full((100, *SHAPE), 0.5, np.float32)  # the box is out of reach
    moves = square_moves(threat, clean)
    index = np.arange(100)
    first = moves.start(Streams(0, "square/0", index, like=clean), index)
    np.testing.assert_allclose(to_host(threat.size(first - clean)), 0.2, rtol=1e-5)
    second = moves.propose(first, 9 / 120, np.random.default_rng(0).random((100, moves.numbers)))
    np.testing.assert_allclose(to_host(threat.size(second - clean)), 0.2, rtol=1e-5)
    old, new = first - clean, second - clean
    changed = np.any(np.abs(new - old) > 1e-6, axis=1)
    assert changed.sum(axis=(1, 2)).max() <= 18
    # What a channel has in sum does not change, since the ball was full.
    for x in (old, new):
        np.testing.assert_allclose(np.sum(np.abs(x) ** order, axis=(1, 2, 3)), 0.2**order, rtol=1e-4)
    np.testing.assert_allclose(
        np.sum(np.abs(new) ** order, axis=(2, 3)), np.sum(np.abs(old) ** order, axis=(2, 3)), rtol=1e-3
    )


# The search


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_every_candidate_lies_in_ball_and_box(norm: Any) -> None:
    threat = threat_of(norm, EPSILONS[norm])
    oracle = oracle_over(pictures(6), Waves(), kind=Watched)
    made = attacked(oracle, norm, queries=300, early_stop=False)
    for row, asked in oracle.asked.items():
        assert len(asked) == 300
        candidates = np.stack(asked)
        assert candidates.min() >= 0
        assert candidates.max() <= 1
        sizes = threat.size(candidates - oracle.images[row])
        assert sizes.max() <= threat.epsilon * (1 + 1e-5)
        assert any(np.array_equal(made[row], x) for x in asked)
    assert oracle.forward_evaluations.tolist() == [300] * 6


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_candidate_of_largest_margin_comes_back(norm: Any) -> None:
    oracle = oracle_over(pictures(5), Waves(), kind=Watched)
    made = attacked(oracle, norm, queries=50, early_stop=False)

    def margins(images: Any, label: int) -> Any:
        logits = Waves().logits(images)
        return np.delete(logits, label, axis=1).max(axis=1) - logits[:, label]

    for row, asked in oracle.asked.items():
        of_all = margins(np.stack(asked), oracle.labels[row])
        assert margins(made[row : row + 1], oracle.labels[row])[0] == of_all.max()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_an_image_does_not_care_which_others_stand(norm: Any) -> None:
    """To the bit, beyond the first block of random numbers, with images that fall on the way."""
    images, classifier = pictures(12), Waves(0.2)
    threat = threat_of(norm, EPSILONS[norm] / (10 if norm == "linf" else 4))
    whole = oracle_over(images, classifier)
    together = attacked(whole, threat=threat, queries=400)
    counts = whole.forward_evaluations
    assert len(set(counts.tolist())) >= 3
    assert counts.max() > 256, "the second block of random numbers is not reached"
    chosen = np.array([int(np.argmax(counts)), 7, 2])
    part = oracle_over(images[chosen], classifier, chosen)
    assert np.array_equal(attacked(part, threat=threat, queries=400), together[chosen])
    assert part.forward_evaluations.tolist() == counts[chosen].tolist()


def test_images_that_fell_are_asked_no_more() -> None:
    oracle = oracle_over(pictures(20), Waves(), kind=Watched)
    made = attacked(oracle, queries=100)
    fooled = oracle.fooled(Waves().logits(made), np.arange(20))
    assert fooled.any()
    for row, asked in oracle.asked.items():
        misled = np.argmax(Waves().logits(np.stack(asked)), axis=1) != oracle.labels[row]
        assert not misled[:-1].any()
        assert misled[-1] == fooled[row]
        assert len(asked) == 100 or misled[-1]
        assert np.array_equal(made[row], asked[-1]) or not fooled[row]


@pytest.mark.parametrize(("norm", "share"), [("linf", 0.8), ("l2", 0.25), ("l1", 0.2)])
def test_search_finds_much_of_the_best_margin_of_a_linear_classifier(norm: Any, share: float) -> None:
    """Weights are one number a channel: for linf the best perturbation is constant; bumps of both signs are far from it."""
    weights = np.broadcast_to(np.array([1, -2, 0.5])[:, None, None], SHAPE)

    class Linear:
        classes = 2

        def logits(self, images: Any, /) -> Any:
            found = np.sum((images - 0.5) * weights, axis=(1, 2, 3)) - 100  # far from the boundary
            return np.stack([np.zeros_like(found), found], axis=1).astype(np.float32)

    images = np.full((4, *SHAPE), 0.5, np.float32)
    made = attacked(oracle_over(images, Linear()), norm, queries=600)
    dual = {"linf": 1, "l2": 2, "l1": np.inf}[norm]
    best = EPSILONS[norm] * np.linalg.norm(weights.ravel(), ord=dual)
    assert np.all((Linear().logits(made)[:, 1] + 100) / best > share)


def test_each_library_gives_the_same_candidates(placed: Any) -> None:
    for norm in ("linf", "l2", "l1"):
        wanted = attacked(oracle_over(pictures(4), Waves(0.3)), norm, queries=30)
        found = attacked(oracle_over(placed(pictures(4)), Waves(0.3)), norm, queries=30)
        assert type(found) is type(placed(wanted))
        np.testing.assert_allclose(to_host(found), wanted, atol=2e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_candidates_of_a_band_stay_in_it_and_gain(norm: Any) -> None:
    threat = threat_of(norm, EPSILONS[norm], band="0:3", shape=SHAPE)
    images = pictures(4)
    oracle = oracle_over(images, Waves(0.1), kind=Watched)
    labels = oracle.labels
    made = attacked(oracle, threat=threat, queries=60, early_stop=False)
    leakage = threat.leakage(made - images)  # type: ignore[attr-defined]
    assert leakage.max() < 0.05
    for row, asked in oracle.asked.items():
        candidates = np.stack(asked)
        assert candidates.min() >= 0
        assert candidates.max() <= 1
        assert threat.size(candidates - images[row]).max() <= threat.epsilon * (1 + 1e-5)
    first = np.stack([asked[0] for asked in oracle.asked.values()])
    gained = logit_margins(Waves(0.1).logits(made), labels) - logit_margins(Waves(0.1).logits(first), labels)
    assert gained.min() > 0


@pytest.mark.parametrize("settings", [{"queries": 0}, {"largest_share": 0}, {"largest_share": 1.5}])
def test_settings_out_of_range_are_refused(settings: Any) -> None:
    with pytest.raises(ValueError, match=r"accepted are whole numbers from 1, and shares above 0 up to 1"):
        attacked(oracle_over(pictures(1), Waves()), **settings)


def test_one_query_is_the_first_candidate() -> None:
    oracle = oracle_over(pictures(2), Waves())
    made = attacked(oracle, queries=1)
    stripes = made - oracle.images
    assert np.all(np.sign(stripes)[(oracle.images > 0.2) & (oracle.images < 0.8)] != 0)
    assert oracle.forward_evaluations.tolist() == [1, 1]


@pytest.mark.slow
@pytest.mark.assets
@pytest.mark.parametrize("name", ["cifar10_ada_resnet4b_fgsm", "cifar10_ada_resnet4b_pgd"])
def test_robust_models_lose_accuracy(assets: Path, name: str) -> None:
    source = specprobe.load_images(assets / "data" / "cifar10_lossless_test.npz")
    network = specprobe.load(assets / "models" / f"{name}.onnx", image_shape=source.image_shape)
    batch = source.read(0, 64)
    labels = np.asarray(batch.labels)
    right = np.argmax(network.logits(batch.images), axis=1) == labels
    oracle = Oracle(network, batch.images[right], labels[right], np.flatnonzero(right), batch_size=64)
    made = attacked(oracle, threat=threat_of("linf", 8 / 255), queries=100)
    fooled = oracle.fooled(network.logits(made), np.arange(len(oracle)))
    # torchattacks, 500 queries, 200 images: 12 of 50.5 points, and 16.5 of 55.5.
    assert 0.1 <= fooled.mean() <= 0.5
