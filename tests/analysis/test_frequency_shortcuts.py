"""Deletion of frequencies on classifiers that are known to use some of them, or none."""

import dataclasses
import json
import re
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import reduce
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import specprobe
from specprobe.analysis.accuracy import accuracy
from specprobe.analysis.frequency_shortcuts_deletion import FrequencyDeletion, frequency_deletion
from specprobe.analysis.frequency_shortcuts_patches import Patches
from specprobe.analysis.frequency_shortcuts_search import FrequencyShortcuts, frequency_shortcuts
from specprobe.arrays import namespace
from specprobe.errors import DataError, InputMismatch, InvalidNumbers
from specprobe.images import ArraySource
from specprobe.results import document, dump_json, from_document, pack, read_results, unpack, write_npz
from specprobe.spectral.grid import mirror_index, real_frequencies
from specprobe.spectral.masks import apply_mask, band_pass, low_pass
from specprobe.streaming import Checkpoint

ROOT = Path(__file__).resolve().parents[2]
BANDS = ROOT / "models" / "bands"
SCHEMA = json.loads((ROOT / "docs" / "schema" / "specprobe-1.schema.json").read_text(encoding="utf-8"))
CLASSES, SIZE = 3, 8


class BlackBox:
    """Logits are products with fixed random images, without their means; optionally behind an exact low-pass."""

    classes = CLASSES

    def __init__(self, *, behind: float | None = None, shape: tuple[int, int, int] = (3, SIZE, SIZE)) -> None:
        weight = np.random.default_rng(5).normal(size=(CLASSES, *shape))
        weight -= weight.mean(axis=(2, 3), keepdims=True)
        if behind is not None:
            weight = np.asarray(apply_mask(weight, low_pass(shape[1:], cutoff=behind)))
        self.weight = weight.astype(np.float32)
        self.evaluations = 0

    def logits(self, images: Any, /) -> Any:
        xp = namespace(images)
        self.evaluations += images.shape[0]
        weight = xp.asarray(self.weight.copy())
        # One image at a time: a product of matrices may round differently for another number of rows.
        return xp.stack([xp.sum(images[i, ...] * weight, axis=(1, 2, 3)) for i in range(images.shape[0])])


class Linear(BlackBox):
    """The same, with its gradient."""

    def vjp(self, images: Any, cotangent: Any, /) -> Any:
        xp = namespace(images)
        weight = xp.asarray(self.weight.copy())
        return xp.sum(cotangent[:, :, None, None, None] * weight[None, ...], axis=1)

    def gradient(
        self, images: Any, labels: Any, /, *, loss: str = "cross-entropy", targets: Any = None
    ) -> tuple[Any, Any]:
        xp = namespace(images)
        z = self.logits(images)
        one_hot = xp.astype(labels[:, None] == xp.arange(CLASSES)[None, :], xp.float32)
        if loss == "logit":
            return xp.sum(z * one_hot, axis=1), self.vjp(images, one_hot)
        assert loss == "cross-entropy"
        e = xp.exp(z - xp.max(z, axis=1, keepdims=True))
        p = e / xp.sum(e, axis=1, keepdims=True)
        return -xp.log(xp.sum(p * one_hot, axis=1)), self.vjp(images, p - one_hot)


def pictures(images: int, *, seed: int = 0, shape: tuple[int, int, int] = (3, SIZE, SIZE)) -> Any:
    return np.random.default_rng(seed).uniform(0, 1, (images, *shape)).astype(np.float32)


def labelled(images: int, **options: Any) -> ArraySource:
    return ArraySource(pictures(images, **options), np.arange(images) % CLASSES)


# Patches


@pytest.mark.parametrize("shape", [(8, 8), (7, 7), (6, 9), (1, 5), (2, 2)])
@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_patches_divide_everything_but_the_mean_and_hold_their_mirrors(
    shape: tuple[int, int], side: int
) -> None:
    patches = Patches.of(shape, side=side)
    assert sorted(set(patches.index.ravel())) == list(range(-1, patches.count))
    assert np.argwhere(patches.index == -1).tolist() == [[shape[0] // 2, shape[1] // 2]]
    assert np.array_equal(patches.index, patches.index.ravel()[mirror_index(shape)])
    masks = patches.masks(0, patches.count)
    assert np.array_equal((~masks).sum(axis=0), patches.index >= 0)
    for mask in ~masks:
        f = np.argwhere(mask) - [shape[0] // 2, shape[1] // 2]
        half = f[(f[:, 0] > 0) | ((f[:, 0] == 0) & (f[:, 1] > 0))]
        assert half.size == 0 or np.ptp(np.abs(half), axis=0).max() < max(side, 1)


def test_patches_of_one_frequency_are_the_real_frequencies() -> None:
    assert Patches.of((32, 32), side=1).count == len(real_frequencies((32, 32))) - 1 == 513


@pytest.mark.parametrize("side", [0, 1.5, None])
def test_what_is_no_side_is_refused(side: Any) -> None:
    with pytest.raises(InputMismatch, match="accepted are whole numbers from 1"):
        Patches.of((8, 8), side=side)


# Deletion


@pytest.mark.parametrize("patch", [1, 3])
@pytest.mark.parametrize("size", [8, 7])
def test_the_increase_is_that_of_the_loss_of_filtered_images(patch: int, size: int) -> None:
    shape = (3, size, size)
    source = labelled(10, shape=shape)
    batch = source.read(0, 10)
    result = frequency_deletion(Linear(shape=shape), source, patch=patch)
    assert result.loss_increase is not None

    def losses(images: Any) -> Any:
        z = Linear(shape=shape).logits(images).astype(np.float64)
        return np.log(np.exp(z).sum(axis=1)) - z[np.arange(10), batch.labels]

    clean = losses(batch.images)
    patches = Patches.of((size, size), side=patch)
    for place in range(patches.count):
        gained = losses(apply_mask(batch.images, patches.index != place)) - clean
        for row, label in enumerate(result.class_labels):
            of = batch.labels == label
            assert result.loss_increase[row, place] == pytest.approx(gained[of].mean(), abs=2e-5)
            assert result.loss_increase_std is not None
            assert result.loss_increase_std[row, place] == pytest.approx(gained[of].std(), abs=2e-5)
    np.testing.assert_allclose(
        result.clean_loss, [clean[batch.labels == label].mean() for label in range(CLASSES)], rtol=1e-5
    )
    assert result.accuracy == accuracy(Linear(shape=shape), source)


@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize("size", [8, 7])
def test_of_a_linear_loss_the_first_order_is_exact(patch: int, size: int) -> None:
    shape = (3, size, size)
    result = frequency_deletion(Linear(shape=shape), labelled(20, shape=shape), patch=patch, loss="logit")
    assert result.loss_increase is not None
    assert result.first_order_increase is not None
    scale = np.abs(result.loss_increase).max()
    np.testing.assert_allclose(result.first_order_increase, result.loss_increase, atol=1e-5 * scale)
    spreads: list[Any] = [result.first_order_increase_std, result.loss_increase_std]
    np.testing.assert_allclose(spreads[0], spreads[1], atol=1e-5 * scale)
    correlation, bounds = result.rank_correlation, result.rank_correlation_interval
    assert correlation is not None
    assert bounds is not None
    assert (correlation > 0.9999).all()
    assert (bounds[:, 0] > 0.999).all()
    # All patches together are the image without its mean, which this model does not see.
    total = result.first_order_increase.sum(axis=1)
    np.testing.assert_allclose(total, -result.clean_loss, atol=1e-4 * scale * 32)


@pytest.mark.parametrize("size", [8, 9])
def test_frequencies_that_a_model_does_not_use_change_nothing(size: int) -> None:
    shape = (3, size, size)
    result = frequency_deletion(Linear(behind=3, shape=shape), labelled(9, shape=shape))
    used = low_pass((size, size), cutoff=3)
    for increase in (result.loss_increase, result.first_order_increase):
        assert increase is not None
        maps = result.patches.spread(increase)
        used_increase, unused_increase = np.abs(maps[:, used]), np.abs(maps[:, ~used])
        assert unused_increase.max() < 1e-5
        assert np.nanmedian(used_increase) > 1e-2
    kept = result.dominant_maps((used.sum() - 1) / 2 / result.patches.count)
    decisive = np.abs(result.increase) > 1e-3
    assert not (result.patches.spread(decisive.astype(float))[:, ~used] > 0).any()
    assert kept.shape == (CLASSES, size, size)


def test_dominant_maps_hold_the_largest_increases_and_the_mean() -> None:
    result = frequency_deletion(Linear(), labelled(30))
    for share in (0.001, 0.1, 0.5, 1):
        maps, chosen = result.dominant_maps(share), result.dominant_patches(share)
        assert chosen.shape[1] == max(1, int(share * result.patches.count + 0.5))
        assert maps[:, SIZE // 2, SIZE // 2].all()
        for row in range(CLASSES):
            inside = result.increase[row, chosen[row]]
            outside = np.delete(result.increase[row], chosen[row])
            assert (np.diff(inside) <= 0).all()
            assert outside.size == 0 or inside.min() >= outside.max()
            assert set(result.patches.index[maps[row]]) == {-1, *chosen[row].tolist()}
    with pytest.raises(ValueError, match="the share of patches kept is 0"):
        result.dominant_maps(0)
    logit = frequency_deletion(Linear(), labelled(30), loss="logit")
    assert logit.loss_increase is not None
    assert np.array_equal(logit.increase, -logit.loss_increase)


def test_a_model_without_gradient_has_the_exact_increase_alone() -> None:
    source = labelled(20)
    black = frequency_deletion(BlackBox(), source)
    both = frequency_deletion(Linear(), source)
    assert (black.first_order_increase, black.rank_correlation, black.gradient_evaluations) == (None, None, 0)
    assert np.array_equal(black.loss_increase, both.loss_increase)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="BlackBox has no gradient"):
        frequency_deletion(BlackBox(), source, method="first-order")


def test_the_first_order_alone_takes_one_gradient_an_image() -> None:
    classifier, source = Linear(), labelled(20)
    result = frequency_deletion(classifier, source, method="first-order")
    assert classifier.evaluations == 40  # logits and gradient apart, in this fake
    assert (result.model_evaluations, result.gradient_evaluations) == (20, 20)
    both = frequency_deletion(Linear(), source)
    assert result.loss_increase is None
    assert np.array_equal(result.increase, both.first_order_increase)  # type: ignore[arg-type]
    assert both.model_evaluations == 20 * (1 + both.patches.count)


def test_without_labels_classes_are_the_answers() -> None:
    images = pictures(40)
    answers = np.argmax(Linear().logits(images), axis=1)
    result = frequency_deletion(Linear(), images)
    wanted = frequency_deletion(Linear(), images, answers)
    assert (result.target, result.accuracy) == ("predicted", None)
    assert np.array_equal(result.loss_increase, wanted.loss_increase)  # type: ignore[arg-type]
    assert "no-labels" in [finding.code for finding in result.findings]
    with pytest.raises(DataError, match="have no labels"):
        frequency_deletion(Linear(), images, target="true")


@pytest.mark.parametrize("batch_size", [1, 7, 64, 150, 1000])
def test_result_does_not_depend_on_the_batch_size(batch_size: int) -> None:
    source = labelled(70)
    assert frequency_deletion(Linear(), source, batch_size=batch_size) == frequency_deletion(Linear(), source)


@settings(deadline=None, max_examples=10)
@given(st.sets(st.integers(1, 39), max_size=4))
def test_merging_does_not_depend_on_where_the_data_is_cut(cuts: set[int]) -> None:
    images, labels = pictures(40), np.repeat([2, 0, 1, 0], 10)  # so that parts lack classes
    parts = [
        frequency_deletion(Linear(), images[a:b], labels[a:b]) for a, b in pairwise([0, *sorted(cuts), 40])
    ]
    merged, whole = reduce(FrequencyDeletion.merge, parts), frequency_deletion(Linear(), images, labels)
    means: dict[str, Any] = {}
    for name in ("clean_loss", "loss_increase", "first_order_increase"):
        for key in (name, f"{name}_std"):
            np.testing.assert_allclose(getattr(merged, key), getattr(whole, key), rtol=1e-9, atol=1e-12)
            means[key] = getattr(whole, key)
    assert dataclasses.replace(merged, **means) == whole


def test_results_of_other_settings_are_not_merged() -> None:
    one = frequency_deletion(Linear(), labelled(6))
    with pytest.raises(InputMismatch, match="patch is 1 here and 2 there"):
        one.merge(frequency_deletion(Linear(), labelled(6), patch=2))
    with pytest.raises(InputMismatch, match="only one of the results has loss_increase"):
        one.merge(frequency_deletion(Linear(), labelled(6), method="first-order"))


def test_arrays_of_other_libraries_give_equal_results(placed: Callable[[Any], Any]) -> None:
    labels = np.arange(12) % CLASSES
    wanted = frequency_deletion(Linear(), pictures(12), labels)
    found = frequency_deletion(Linear(), placed(pictures(12)), labels)
    for name in ("loss_increase", "first_order_increase", "clean_loss", "loss_increase_std"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_executors_give_the_same_bits(workers: str) -> None:
    source = labelled(150)
    serial = frequency_shortcuts(Linear(), source, patch=2, keep=(0.3,))
    pool: Executor = (
        ThreadPoolExecutor(2) if workers == "threads" else ProcessPoolExecutor(2, get_context("spawn"))
    )
    with pool:
        assert frequency_shortcuts(Linear(), source, patch=2, keep=(0.3,), executor=pool) == serial


def test_an_interrupted_run_ends_in_the_same_bits(tmp_path: Path) -> None:
    source = labelled(150)

    def checkpoint(*, resume: bool) -> Checkpoint:
        return Checkpoint(path=tmp_path / "partial.npz", fingerprint="f", resume=resume)

    def stop(images: int) -> None:
        if images == 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        frequency_deletion(Linear(), source, patch=3, checkpoint=checkpoint(resume=False), progress=stop)
    classifier = Linear()
    resumed = frequency_deletion(classifier, source, patch=3, checkpoint=checkpoint(resume=True))
    assert resumed == frequency_deletion(Linear(), source, patch=3)
    assert classifier.evaluations <= 22 * (2 + resumed.patches.count)


@pytest.mark.parametrize("method", ["deletion", "first-order"])
def test_deletions_survive_json_and_packing(method: str, tmp_path: Path) -> None:
    result = frequency_deletion(Linear(), labelled(40), patch=2, method=method, confidence=0.9)
    content = json.loads(dump_json(document(result, provenance={"tool": "specprobe", "version": "0"})))
    jsonschema.validate(content, SCHEMA)
    again = from_document(content)
    assert again.to_dict() == content["result"]
    assert again != result
    assert unpack(*pack(result)) == result
    write_npz(tmp_path / "r.npz", content, result.arrays())
    ((_, read),) = read_results(tmp_path / "r.npz")
    assert read == result
    with pytest.raises(TypeError, match="unhashable"):
        hash(result)


def test_numbers_that_are_none_are_refused() -> None:
    class Broken(Linear):
        def gradient(self, images: Any, labels: Any, /, **options: Any) -> tuple[Any, Any]:
            losses, gradient = super().gradient(images, labels, **options)
            gradient[1] = np.nan
            return losses, gradient

    with pytest.raises(InvalidNumbers, match=r"the gradient of image 1 is NaN or infinite \(1 of 6"):
        frequency_deletion(Broken(), labelled(6))

    class OnFiltered(BlackBox):
        def logits(self, images: Any, /) -> Any:
            z = super().logits(images)
            if self.evaluations > 6:
                z[4] = np.inf
            return z

    with pytest.raises(InvalidNumbers, match="the logits of image 4 without some of its frequencies"):
        frequency_deletion(OnFiltered(), labelled(6), batch_size=6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "brute"}, "method is 'brute'"),
        ({"loss": "mse"}, "loss is 'mse'; accepted are 'cross-entropy'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"target": "mine"}, "target is 'mine'"),
        ({"confidence": 2.0}, "confidence is 2"),
    ],
)
def test_settings_that_do_not_exist_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frequency_deletion(Linear(), labelled(3), **options)


def test_impossible_results_are_refused() -> None:
    result = frequency_deletion(Linear(), labelled(6))
    with pytest.raises(ValueError, match="neither an exact nor a first-order increase"):
        dataclasses.replace(result, loss_increase=None, first_order_increase=None)
    with pytest.raises(ValueError, match=r"loss_increase has shape \(3, 5\)"):
        dataclasses.replace(result, loss_increase=np.zeros((3, 5)))
    with pytest.raises(ValueError, match="accepted are counts from 1 that add up"):
        dataclasses.replace(result, images=7)


# Shortcuts


class Tones:
    """Class i where the wave of ring i + 1 is strongest; never sees anything else."""

    classes = CLASSES

    def __init__(self) -> None:
        x = 2 * np.pi * np.arange(SIZE) / SIZE
        self.waves = np.stack([np.cos((i + 1) * x) for i in range(CLASSES)]).astype(np.float32)

    def logits(self, images: Any, /) -> Any:
        return np.sum(images[:, :1, None, ...] * self.waves[None, None, :, None, :], axis=(1, 3, 4))


def tones(images: int) -> ArraySource:
    labels = np.arange(images) % CLASSES
    noise = np.random.default_rng(1).normal(0, 0.01, (images, 1, SIZE, SIZE))
    plain = 0.5 + 0.1 * Tones().waves[labels][:, None, None, :] + noise
    return ArraySource(plain.astype(np.float32), labels)


def test_a_class_that_is_one_tone_has_a_shortcut() -> None:
    result = frequency_shortcuts(Tones(), tones(90), keep=(0.03, 1))
    assert result.kept_patches == (1, 33)
    at = [SIZE // 2, SIZE // 2 + 1]
    for row in range(CLASSES):
        kept = result.deletion.dominant_maps(0.03)[row]
        assert kept[at[0], SIZE // 2 + row + 1]
        assert kept.sum() == 3  # the wave, its conjugate, and the mean
    assert result.true_positive_rate.tolist() == [[1, 1]] * CLASSES
    assert result.false_positive_rate[:, 1].tolist() == [0, 0, 0]
    # Of the other images noise is left in the one wave that may be for or against the class.
    assert (np.abs(result.false_positive_rate[:, 0] - 0.5) < 0.25).all()
    content = result.to_dict()
    for part in content["per_class"]:
        assert part["clean_true_positive_rate"] == 1
        assert part["clean_false_positive_rate_interval"][0] == 0
        assert part["true_positive_rate_interval"][0][0] > 0.85
        assert part["random_true_positive_rate"][1] == 1


def test_rates_are_counts_of_answers_to_filtered_images() -> None:
    source = labelled(50)
    batch = source.read(0, 50)
    classifier = Linear()
    result = frequency_shortcuts(classifier, source, keep=(0.5, 0.1, 0.1), patch=2)
    assert result.keep == (0.1, 0.5)
    for row in range(CLASSES):
        for column, share in enumerate(result.keep):
            answer = (
                Linear().logits(apply_mask(batch.images, result.deletion.dominant_maps(share)[row])).argmax(1)
            )
            right = batch.labels == row
            assert result.true_positives[row, column] == (right & (answer == row)).sum()
            assert result.false_positives[row, column] == (~right & (answer == row)).sum()
    spent = (
        result.model_evaluations + result.deletion.model_evaluations + result.deletion.gradient_evaluations
    )
    assert classifier.evaluations == spent
    assert [finding.code for finding in result.findings] == ["chance-level", "few-images", "same-images"]


def test_maps_may_come_from_other_images() -> None:
    chosen = frequency_deletion(Linear(), labelled(30, seed=1), patch=2)
    result = frequency_shortcuts(Linear(), labelled(30), deletion=chosen, keep=(0.2,))
    assert result.deletion == chosen
    assert "same-images" not in [finding.code for finding in result.findings]
    with pytest.raises(InputMismatch, match=r"images of height and width \(8, 8\), these have \(7, 7\)"):
        frequency_shortcuts(
            Linear(shape=(3, 7, 7)), labelled(6, shape=(3, 7, 7)), deletion=chosen, keep=(0.2,)
        )
    with pytest.raises(InputMismatch, match="the deletion is of true classes, target is 'predicted'"):
        frequency_shortcuts(Linear(), labelled(6), deletion=chosen, target="predicted")
    only_first = ArraySource(pictures(5), np.zeros(5, np.int64))
    part = frequency_shortcuts(Linear(), only_first, deletion=chosen, keep=(0.2,))
    assert np.isnan(part.true_positive_rate[1:]).all()
    assert part.to_dict()["per_class"][1]["true_positive_rate"] == [None]
    assert "absent-classes" in [finding.code for finding in part.findings]


def test_shortcuts_survive_json_and_packing(tmp_path: Path) -> None:
    result = frequency_shortcuts(Linear(), labelled(40), patch=2, keep=(0.1, 0.3))
    content = json.loads(dump_json(document(result, provenance={"tool": "specprobe", "version": "0"})))
    jsonschema.validate(content, SCHEMA)
    again = from_document(content)
    assert isinstance(again, FrequencyShortcuts)
    expected = dict(content["result"])
    # Whether both sets of images are one is told by their digests, which JSON lacks.
    expected["findings"] = [f for f in expected["findings"] if f["code"] != "same-images"]
    assert again.to_dict() == expected
    assert unpack(*pack(result)) == result
    write_npz(tmp_path / "r.npz", content, result.arrays())
    with np.load(tmp_path / "r.npz") as archive:
        assert archive["dominant_map"].shape == (CLASSES, 2, SIZE, SIZE)
        assert archive["dominant_map"].dtype == np.bool_
        assert archive["deletion_loss_increase_map"].shape == (CLASSES, SIZE, SIZE)
        assert np.isnan(archive["deletion_loss_increase_map"][:, SIZE // 2, SIZE // 2]).all()


@pytest.mark.parametrize("keep", [(), (0,), (0.1, 1.1)])
def test_shares_out_of_range_are_refused(keep: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="accepted are one or more shares of the patches"):
        frequency_shortcuts(Linear(), labelled(3), keep=keep)


# Known answers

PLANTED = {"low": [(3, 5)], "mid": [(7, 9)], "high": [(13, 15)], "low_high": [(3, 5), (13, 15)]}


def evidence(variant: str) -> Any:
    """Frequencies that speak for each class: of the planted bands, those in the wedges of its orientations."""
    inside = [band_pass((32, 32), low=low, high=high) for low, high in PLANTED[variant]]
    f = np.arange(32) - 16
    wedge = np.floor((np.degrees(np.arctan2(f[:, None], f[None, :])) + 22.5) / 45).astype(int) % 4
    if len(inside) == 1:
        return np.stack([inside[0] & (wedge == label) for label in range(4)])
    return np.stack(
        [
            (inside[0] & (wedge // 2 == label // 2)) | (inside[1] & (wedge // 2 == label % 2))
            for label in range(4)
        ]
    )


def opened(variant: str) -> tuple[Any, Any]:
    images = specprobe.load_images(BANDS / f"{variant}.npz")
    return specprobe.load(BANDS / f"{variant}.onnx", image_shape=images.image_shape), images


@pytest.mark.slow
@pytest.mark.parametrize("variant", list(PLANTED))
def test_first_order_maps_lie_in_the_planted_bands(variant: str) -> None:
    """The five largest of 513 frequencies, in the wedges of their class at that: the low band has five or six a class."""
    result = frequency_deletion(*opened(variant), method="first-order")
    for row, kept in enumerate(result.dominant_maps(0.01)):
        kept[16, 16] = False
        assert kept.sum() == 10
        assert not (kept & ~evidence(variant)[row]).any()


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["mid", "high"])
def test_exact_maps_lie_in_the_planted_bands(variant: str) -> None:
    network, images = opened(variant)
    result = frequency_shortcuts(network, images, keep=(0.01,), limit=40)
    for row, kept in enumerate(result.deletion.dominant_maps(0.01)):
        kept[16, 16] = False
        assert not (kept & ~evidence(variant)[row]).any()
    correlation = result.deletion.rank_correlation
    assert correlation is not None
    assert (correlation > 0.6).all()
    # Five frequencies of its own wedge do more for a class than five that are drawn.
    assert (result.true_positives.sum(axis=0) > result.random_true_positives.sum(axis=0)).all()


@pytest.mark.slow
def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "shortcuts.md").read_text(encoding="utf-8")
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(code, "shortcuts.md", "exec"), {})  # noqa: S102 - the page's own code
    assert (tmp_path / "shortcuts.png").exists()
