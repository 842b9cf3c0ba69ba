"""Masks whose energies are known by construction."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from specprobe.analysis.mask_energy import angular_energy, radial_energy
from specprobe.analysis.mask_reading import display_maps, mask_difference
from specprobe.analysis.mask_reading_bias import NUMBERS, mask_numbers
from specprobe.analysis.mask_reading_probe import mask_probe
from specprobe.analysis.mask_reading_result import MaskDifference
from specprobe.analysis.mask_result import FourierMask
from specprobe.errors import DataError, InputMismatch, InvalidNumbers
from specprobe.intervals import wilson_interval
from specprobe.results import document, dump_json, from_document, pack, read_results, unpack, write_npz
from specprobe.spectral.grid import radius, rings
from specprobe.spectral.masks import low_pass, wedge

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs" / "schema" / "specprobe-1.schema.json").read_text(encoding="utf-8"))
SHAPE = (32, 32)


def learned(masks: Any, *, per_image: bool = False, per_channel: bool = False, **changed: Any) -> FourierMask:
    """A result with these masks, as if they had been learned."""
    masks = np.asarray(masks, np.float32)
    count = len(masks) if per_image else 8
    planes = masks if per_channel else masks[..., None, :, :]
    energies = [
        e(planes, channels=True).reshape(-1, 64).mean(axis=0) for e in (radial_energy, angular_energy)
    ]
    values: dict[str, Any] = {
        "preset": "default",
        "per_image": per_image,
        "per_channel": per_channel,
        "target": "predicted",
        "seed": 0,
        "images": count,
        "image_shape": (3, *masks.shape[-2:]),
        "sparsity_weight": 0.1,
        "agreement_goal": 0.99,
        "max_epochs": 5,
        "epochs": 5,
        "images_per_step": 1,
        "converged": True,
        "agreeing": count,
        "complement_agreeing": 0,
        "held_out": 0,
        "held_out_agreeing": 0,
        **dict.fromkeys(("correct", "masked_correct", "complement_correct")),
        **dict.fromkeys(("class_histogram", "prediction_histogram")),
        "density": float(masks.mean()),
        "radial_energy": energies[0],
        "angular_energy": energies[1],
        **dict.fromkeys(("density_std", "radial_energy_std", "angular_energy_std")),
        "gradient_evaluations": 1,
        "forward_evaluations": 1,
        "history": (),
        "mask": masks,
        "image_converged": np.ones(count, bool) if per_image else None,
        "image_digest": np.arange(16 * count, dtype=np.uint8).reshape(count, 16),
    }
    return FourierMask(**values | changed)


def disc(cutoff: float, shape: tuple[int, int] = SHAPE) -> Any:
    return low_pass(shape, cutoff=cutoff).astype(np.float32)


def discs(images: int, *, mean: float, seed: int) -> Any:
    cutoffs = np.random.default_rng(seed).uniform(mean - 2, mean + 2, images)
    return np.stack([disc(cutoff) for cutoff in cutoffs])


# Numbers


def test_numbers_of_a_disc_are_known() -> None:
    rho, ring = radius(SHAPE), rings(SHAPE)
    inside = (rho < 9) & (ring > 0)
    (found,) = mask_numbers(disc(9)[None, None])
    number = dict(zip(NUMBERS, found, strict=True))
    assert number["density"] == pytest.approx((rho < 9).mean())
    assert number["low_share"] == pytest.approx((inside & (ring <= 5)).sum() / inside.sum())
    assert number["mid_share"] == pytest.approx((inside & (ring > 5) & (ring <= 10)).sum() / inside.sum())
    assert number["high_share"] == 0
    assert number["centroid_cycles_per_image"] == pytest.approx(rho[inside].mean())


@pytest.mark.parametrize("shape", [(32, 32), (28, 28), (15, 15), (16, 24)])
def test_masks_that_are_rings_prefer_no_direction(shape: tuple[int, int]) -> None:
    """Whatever the grid does to the wedges, it does to a mask and to its isotropic version alike."""
    by_ring = np.random.default_rng(0).uniform(0, 1, 40)
    (found,) = mask_numbers(by_ring[rings(shape)][None, None])
    number = dict(zip(NUMBERS, found, strict=True))
    assert number["axis_diagonal_contrast"] == pytest.approx(0, abs=1e-12)
    assert number["angular_variation"] == pytest.approx(number["angular_variation_isotropic"])
    assert number["angular_variation"] > 0.02  # which is why the reference is needed


def test_masks_that_prefer_a_direction_say_so() -> None:
    axis = wedge(SHAPE, low_degrees=-10, high_degrees=10) | wedge(SHAPE, low_degrees=80, high_degrees=100)
    diagonal = wedge(SHAPE, low_degrees=35, high_degrees=55) | wedge(SHAPE, low_degrees=125, high_degrees=145)
    both = disc(16)[None, :] * np.stack([1 + 3.0 * axis, 1 + 3.0 * diagonal])
    found = mask_numbers(both[:, None])
    contrast = found[:, NUMBERS.index("axis_diagonal_contrast")]
    assert contrast[0] > 0.3
    assert contrast[1] < -0.3
    alone = mask_numbers(np.stack([axis, diagonal]).astype(float)[:, None])
    np.testing.assert_allclose(alone[:, NUMBERS.index("axis_diagonal_contrast")], [1, -1])
    variation, isotropic = (
        found[:, NUMBERS.index(f"angular_variation{ending}")] for ending in ("", "_isotropic")
    )
    assert (variation > 2 * isotropic).all()


def test_only_what_is_off_the_mean_counts_and_nothing_is_nan() -> None:
    mean = np.zeros(SHAPE)
    mean[16, 16] = 1
    found = mask_numbers(np.stack([mean, 0 * mean, disc(4), disc(4) + mean])[:, None])
    assert found[:2, 0].tolist() == [1 / 1024, 0]
    assert np.isnan(found[:2, 1:]).all()
    np.testing.assert_allclose(found[2, 1:], found[3, 1:])
    with pytest.raises(InputMismatch, match=r"accepted is \(N, C, H, W\)"):
        mask_numbers(disc(4))


def test_scale_and_copies_in_channels_change_nothing_but_the_density() -> None:
    mask = np.random.default_rng(0).uniform(0, 1, SHAPE)
    one, half, three = (
        mask_numbers(m) for m in (mask[None, None], mask[None, None] / 2, np.stack([mask] * 3)[None])
    )
    np.testing.assert_allclose(half[:, 1:], one[:, 1:])
    np.testing.assert_allclose(three, one)


# Differences


def test_one_mask_each_has_exact_numbers_and_no_interval() -> None:
    first, second = learned(disc(6)), learned(disc(12))
    found = mask_difference(first, second)
    held = ~np.isnan(found.radial_difference)
    wanted = radial_energy(disc(6)) - radial_energy(disc(12))
    np.testing.assert_allclose(found.radial_difference[held], wanted[held])
    # 64 bands are finer than the grid of 32 cells: those without one hold no number.
    assert np.isnan(found.radial_difference[1])
    assert (found.of, found.masks) == ("mask", 1)
    for name in ("radial_difference_interval", "radial_difference_std", "radial_more", "radial_more_share"):
        assert getattr(found, name) is None
    low = found.radial_centres < 5
    assert (found.radial_difference[low & held] > 0).all()
    assert (found.radial_difference[(found.radial_centres > 6.5) & held] <= 0).all()
    np.testing.assert_array_equal(found.difference_map, (disc(6) - disc(12))[None])
    assert [finding.code for finding in found.findings] == ["one-mask"]
    back = mask_difference(second, first)
    np.testing.assert_array_equal(back.radial_difference, -found.radial_difference)
    np.testing.assert_array_equal(back.number_difference, -found.number_difference)


def test_masks_of_images_are_paired() -> None:
    a, b = discs(60, mean=7, seed=0), discs(60, mean=9, seed=1)
    found = mask_difference(learned(a, per_image=True), learned(b, per_image=True), bands=16)
    energies = [radial_energy(m, bands=16) for m in (a, b)]
    difference = energies[0] - energies[1]
    np.testing.assert_allclose(found.radial_difference, difference.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(found.radial_difference_std, difference.std(axis=0), atol=1e-12)  # type: ignore[arg-type]
    assert found.radial_more is not None
    assert found.radial_more.tolist() == (difference > 0).sum(axis=0).tolist()
    content = found.to_dict()
    assert found.radial_less is not None
    assert found.radial_less.tolist() == (difference < 0).sum(axis=0).tolist()
    assert (found.radial_more + found.radial_less).min() < 60  # beyond all discs both masks are 0
    assert content["radial_less_share"][6] == found.radial_less[6] / 60
    assert content["radial_more_share"][2] == found.radial_more[2] / 60
    assert content["radial_more_share_interval"][2] == list(wilson_interval(int(found.radial_more[2]), 60))
    for name in ("radial_difference", "angular_difference", "number_difference"):
        mean, interval = getattr(found, name), getattr(found, f"{name}_interval")
        known = ~np.isnan(mean)
        assert (interval[known, 0] <= mean[known]).all()
        assert (mean[known] <= interval[known, 1]).all()
    # Smaller discs: relatively more in the bands that all of them hold, less beyond.
    assert content["radial_difference_interval"][1][0] > 0
    assert content["radial_difference_interval"][6][1] < 0
    assert content["low_share_difference_interval"][0] > 0
    assert content["high_share"][0] < content["high_share"][1]
    assert content["centroid_cycles_per_image_difference_interval"][1] < 0
    assert content["findings"] == []
    assert mask_difference(learned(a, per_image=True), learned(b, per_image=True), bands=16) == found
    other = mask_difference(learned(a, per_image=True), learned(b, per_image=True), bands=16, seed=1)
    assert other != found


def test_equal_masks_differ_in_nothing() -> None:
    masks = discs(40, mean=7, seed=0)
    found = mask_difference(learned(masks, per_image=True), learned(masks, per_image=True), resamples=99)
    assert np.nanmax(np.abs(found.radial_difference)) == 0
    assert found.radial_more_share is not None
    assert np.nanmax(found.radial_more_share) == 0
    assert found.number_difference_interval is not None
    assert np.abs(found.number_difference_interval).max() == 0


def test_some_of_the_images_can_be_chosen() -> None:
    a, b = discs(40, mean=7, seed=0), discs(40, mean=9, seed=1)
    chosen = np.arange(40) % 2 == 0
    unsettled = np.arange(40) >= 38
    found = mask_difference(
        learned(a, per_image=True, image_converged=~unsettled),
        learned(b, per_image=True),
        images=chosen,
        resamples=99,
    )
    wanted = mask_difference(
        learned(a[chosen], per_image=True), learned(b[chosen], per_image=True), resamples=99
    )
    assert (found.masks, found.unconverged) == (20, 1)
    assert dataclasses.replace(found, unconverged=0) == wanted
    assert [finding.code for finding in found.findings] == ["not-converged", "few-images"]
    with pytest.raises(InputMismatch, match="no image is chosen"):
        mask_difference(
            learned(a, per_image=True), learned(b, per_image=True), images=np.zeros(40, bool), resamples=9
        )


def test_folds_have_a_spread_and_no_interval() -> None:
    first = [learned(disc(cutoff), image_digest=None) for cutoff in (5, 6, 7)]
    second = [learned(disc(cutoff), image_digest=None) for cutoff in (8, 9, 10)]
    found = mask_difference(first, second)
    parts = [mask_difference(a, b).number_difference for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(found.number_difference, np.mean(parts, axis=0))
    np.testing.assert_allclose(found.number_difference_std, np.std(parts, axis=0), atol=1e-12)  # type: ignore[arg-type]
    assert found.radial_difference_interval is found.number_difference_interval is None
    assert found.radial_more is not None
    assert found.radial_more.max() == 3
    assert found.radial_more_share_interval is None
    assert (found.of, found.masks) == ("folds", 3)


def test_channels_of_a_mask_are_taken_together() -> None:
    planes = np.stack([disc(4), disc(6), disc(8)])
    found = mask_difference(learned(planes, per_channel=True), learned(planes[::-1].copy(), per_channel=True))
    assert np.nanmax(np.abs(found.radial_difference)) < 1e-12
    assert found.difference_map is not None
    assert found.difference_map.shape == (3, *SHAPE)
    assert np.abs(found.difference_map).max() == 1


def test_results_from_json_give_what_they_hold() -> None:
    bare = [FourierMask.from_dict(json.loads(json.dumps(learned(disc(c)).to_dict()))) for c in (6, 12)]
    found = mask_difference(bare[0], bare[1])
    whole = mask_difference(learned(disc(6)), learned(disc(12)))
    np.testing.assert_allclose(found.radial_difference, whole.radial_difference, equal_nan=True)
    assert found.difference_map is None
    assert found.to_dict()["density_difference"] == pytest.approx(whole.to_dict()["density_difference"])
    assert found.to_dict()["low_share"] == [None, None]
    with pytest.raises(DataError, match="hold energies of 64 bands, not of 8"):
        mask_difference(bare[0], bare[1], bands=8)
    without = dataclasses.replace(learned(discs(5, mean=7, seed=0), per_image=True), mask=None)
    with pytest.raises(DataError, match="results read from JSON hold no masks"):
        mask_difference(without, without)


def test_what_cannot_be_paired_is_refused() -> None:
    one, masks = learned(disc(6)), discs(5, mean=7, seed=0)
    each = learned(masks, per_image=True)
    with pytest.raises(InputMismatch, match="per_image False and True"):
        mask_difference(one, each)
    with pytest.raises(InputMismatch, match=r"image_shape \(3, 28, 28\) and \(3, 32, 32\)"):
        mask_difference(one, learned(disc(6, (28, 28))))
    with pytest.raises(InputMismatch, match="not of the same ones in the same order"):
        mask_difference(each, learned(masks, per_image=True, image_digest=np.zeros((5, 16), np.uint8)))
    with pytest.raises(InputMismatch, match="masks of 1 and 2 parts"):
        mask_difference([one], [one, one])
    with pytest.raises(InputMismatch, match="accepted are two of a kind"):
        mask_difference(one, [one])
    with pytest.raises(InputMismatch, match="accepted is one a model"):
        mask_difference([each], [each])
    with pytest.raises(InputMismatch, match="the masks are of no single images"):
        mask_difference(one, one, images=[0])


@pytest.mark.parametrize("of", ["mask", "images", "folds"])
def test_differences_survive_json_and_packing(of: str, tmp_path: Path) -> None:
    if of == "images":
        sides: list[Any] = [learned(discs(6, mean=m, seed=m), per_image=True) for m in (7, 9)]
    else:
        sides = [learned(disc(6)), learned(disc(12))]
        sides = sides if of == "mask" else [[side, side] for side in sides]
    result = mask_difference(sides[0], sides[1], resamples=99, confidence=0.9)
    content = json.loads(dump_json(document(result, provenance={"tool": "specprobe", "version": "0"})))
    jsonschema.validate(content, SCHEMA)
    again = from_document(content)
    assert isinstance(again, MaskDifference)
    assert again == dataclasses.replace(result, difference_map=None)
    assert unpack(*pack(result)) == result
    write_npz(tmp_path / "r.npz", content, result.arrays())
    ((_, read),) = read_results(tmp_path / "r.npz")
    assert read == result
    with pytest.raises(TypeError, match="unhashable"):
        hash(result)


def test_maps_to_be_shown_are_on_one_scale() -> None:
    maps = [disc(6) - disc(12), disc(9) - disc(6) / 2]
    shown = display_maps(maps)
    assert min(m.min() for m in shown) == -0.5
    assert max(m.max() for m in shown) == 0.5
    for m, s in zip(maps, shown, strict=True):
        np.testing.assert_allclose(np.diff(s, axis=0), np.diff(m, axis=0) / 2, atol=1e-12)
    assert display_maps([np.zeros(SHAPE)])[0].max() == -0.5
    with pytest.raises(InputMismatch, match="no maps to show"):
        display_maps([])


# The probe


def told_by(
    images: int, *, shape: tuple[int, int] = (8, 8), strength: float = 0.5, seed: int = 0
) -> tuple[Any, Any]:
    """Masks in which one frequency grows with the class."""
    random = np.random.default_rng(seed)
    classes = np.arange(images) % 3
    masks = random.uniform(0, 0.2, (images, *shape))
    f = 1 + classes
    masks[np.arange(images), 4, 4 + f] += strength
    masks[np.arange(images), 4, 4 - f] += strength
    return masks + np.roll(masks[:, ::-1, ::-1], 1, axis=(1, 2)), classes


def test_a_class_that_is_in_the_masks_is_found_and_no_other() -> None:
    masks, classes = told_by(90)
    found = mask_probe(masks, classes)
    assert (found.train_images, found.test_images, found.classes) == (75, 15, 3)
    assert found.train_accuracy == found.test_accuracy == 1
    assert found.p_value == 1 / 20
    assert np.mean(found.scrambled_test_accuracy) < 0.6
    low, high = found.test_accuracy_interval
    assert (low, high) == wilson_interval(15, 15)
    content = found.to_dict()
    assert content["test_accuracy"] == 1
    json.dumps(content)
    noise, classes = told_by(90, strength=0)
    assert mask_probe(noise, classes).test_accuracy < 0.8
    assert mask_probe(noise, classes, scrambles=0).p_value is None


def test_the_split_keeps_every_class_on_both_sides_and_depends_on_the_seed_alone() -> None:
    masks, _ = told_by(60)
    classes = np.repeat([4, 7, 9, 2], [40, 17, 2, 1])  # a single image cannot be on both sides
    found = mask_probe(masks, classes, test_share=0.25, scrambles=2)
    assert (found.classes, found.train_images, found.test_images) == (3, 30 + 13 + 1, 10 + 4 + 1)
    assert found.test_chance == 10 / 15
    assert mask_probe(masks, classes, test_share=0.25, scrambles=2) == found
    assert mask_probe(masks, classes, test_share=0.25, scrambles=2, seed=1) != found


def test_the_probe_is_at_the_minimum_of_its_objective() -> None:
    """With a huge penalty only the offsets are free, and the answer is the most frequent class."""
    masks, classes = told_by(60)
    classes = np.where(np.arange(60) < 20, classes, 0)
    found = mask_probe(masks, classes, l2_penalty=1e9, scrambles=0)
    assert found.test_accuracy == found.test_chance
    small = mask_probe(masks, classes, l2_penalty=1e-6, scrambles=0)
    assert small.train_accuracy > found.train_accuracy


def test_weights_lie_in_the_span_of_the_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that turning the masks into it changes nothing, and spares most of the numbers."""
    masks, classes = told_by(30, strength=0.1)
    found = mask_probe(masks, classes, scrambles=3)
    monkeypatch.setattr("specprobe.analysis.mask_reading_probe._turned", lambda features, _: features)
    assert mask_probe(masks, classes, scrambles=3) == found


def test_masks_of_channels_are_probed_together() -> None:
    masks, classes = told_by(60)
    noise = np.random.default_rng(1).uniform(0, 0.1, (60, 2, 8, 8))
    found = mask_probe(np.concatenate([noise, masks[:, None]], axis=1), classes, scrambles=0)
    assert found.test_accuracy > 0.8


def test_what_cannot_be_probed_is_refused() -> None:
    masks, classes = told_by(30)
    with pytest.raises(InputMismatch, match=r"masks have shape \(30, 8, 8\), classes \(29,\)"):
        mask_probe(masks, classes[1:])
    with pytest.raises(InputMismatch, match="1 classes have two masks or more"):
        mask_probe(masks, np.where(np.arange(30) == 0, 1, 0))
    with pytest.raises(ValueError, match="test_share is 1"):
        mask_probe(masks, classes, test_share=1)
    with pytest.raises(ValueError, match="l2_penalty is 0"):
        mask_probe(masks, classes, l2_penalty=0)
    masks[3, 4, 4] = np.nan
    with pytest.raises(InvalidNumbers, match="NaN or infinite"):
        mask_probe(masks, classes)
