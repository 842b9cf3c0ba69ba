"""Outcomes: what follows from the counts, and that they survive files and merging."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specprobe.analysis.metrics import metrics
from specprobe.analysis.perturbation import perturbation_spectrum
from specprobe.attacks.medians import Median, median
from specprobe.attacks.outcome import EXAMPLES, AttackOutcome
from specprobe.errors import InputMismatch
from specprobe.intervals import wilson_interval
from specprobe.results import document, dump_json, from_document, pack, unpack

ROOT = Path(__file__).resolve().parents[2]


def outcome(count: int = 6, *, draw: int = 0, labelled: bool = True, **changed: Any) -> Any:
    """Of random images, each second one of those attacked fallen."""
    random = np.random.default_rng(draw)
    clean = random.uniform(0, 1, (count, 1, 4, 4)).astype(np.float32)
    adversarial = np.clip(clean + random.normal(0, 0.02, clean.shape), 0, 1).astype(np.float32)
    right = np.arange(count) % 3 > 0 if labelled else np.ones(count, bool)
    attacked = np.flatnonzero(right)
    robust = np.zeros(count, bool)
    robust[attacked[1::2]] = True
    fallen = np.flatnonzero(right & ~robust)
    norms = np.full(count, np.nan)
    norms[attacked] = random.uniform(0.1, 1, len(attacked))
    shown = fallen[:EXAMPLES]
    fields: dict[str, Any] = {
        "attack": "pgd",
        "members": ("pgd",),
        "threat_norm": "l2",
        "epsilon": 0.5,
        "band": None,
        "steps": 40,
        "queries": None,
        "step_size": None,
        "early_stop": None,
        "frequency": None,
        "restarts": 1,
        "minimal_norm": False,
        "seed": 0,
        "target": "true" if labelled else "predicted",
        "classes": 3,
        "image_shape": (1, 4, 4),
        "images": count,
        "attacked": len(attacked),
        "moved": len(attacked),
        "standing": int(robust.sum()),
        "member_fallen": (len(fallen),),
        "forward_evaluations": 7 * len(attacked),
        "gradient_evaluations": 5 * len(attacked),
        "checked": count,
        "differentiated": count,
        "image_robust": robust,
        "image_perturbation_norm": norms,
        "image_forward_evaluations": np.where(right, 7, 0),
        "image_gradient_evaluations": np.where(right, 5, 0),
        "image_digest": random.integers(0, 256, (count, 16)).astype(np.uint8),
        "example_clean": clean[shown],
        "example_adversarial": adversarial[shown],
        "example_index": shown,
        "example_classes": np.stack([shown % 3, (shown + 1) % 3], axis=1),
    }
    if len(attacked):
        fields["perturbation"] = perturbation_spectrum(clean, adversarial, rows=attacked)
    if labelled:
        fields["correct"] = len(attacked)
        fields["class_histogram"] = fields["prediction_histogram"] = {"0": count}
        fields["image_clean_correct"] = right
    return AttackOutcome(**{**fields, **changed})


MINIMAL: dict[str, Any] = {"attack": "deepfool", "members": ("deepfool",), "minimal_norm": True, "outside": 1}
CASES = {
    "labelled": outcome(),
    "unlabelled": outcome(labelled=False),
    "one": outcome(1),
    "minimal": outcome(30, **MINIMAL),
    "band": outcome(band="0:2", mean_leakage=0.001, max_leakage=0.5),
    "flags": outcome(model_flags=(("zero-gradient", "Round masks", "r"), ("random-operator", "noise", None))),
    "universal": outcome(
        attack="universal", members=("universal",), frequency=(1, -2), steps=None, queries=128
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_documents_are_read_back(name: str) -> None:
    result = CASES[name]
    content = json.loads(dump_json(document(result)))
    again = from_document(content)
    assert again.to_dict() == result.to_dict() == content["result"]
    assert again.image_robust is None
    assert again.flags == result.flags
    assert again.findings == result.findings


@pytest.mark.parametrize("name", CASES)
def test_partial_results_keep_every_bit(name: str) -> None:
    result = replace(CASES[name], adversarial=np.zeros((CASES[name].images, 1, 4, 4), np.float32))
    scalars, arrays = pack(result)
    assert unpack(scalars, arrays) == result
    assert unpack(scalars, arrays) != replace(result, standing=result.standing, seed=3)


def test_shares_are_of_the_right_counts() -> None:
    result = outcome(12)
    content = result.to_dict()
    assert (result.images, result.attacked, result.standing) == (12, 8, 4)
    for name, count, total in (("clean_accuracy", 8, 12), ("robust_accuracy", 4, 12), ("success_rate", 4, 8)):
        assert content[name] == count / total
        assert content[f"{name}_interval"] == list(wilson_interval(count, total))
    assert content["members"] == [{"attack": "pgd", "attacked": 8, "fallen": 4}]
    assert content["perturbation"]["images"] == 8


def test_members_meet_what_those_before_left() -> None:
    names = ("apgd-ce", "apgd-t", "fab-t", "square")
    content = outcome(12, attack="standard", members=names, member_fallen=(2, 0, 1, 1)).to_dict()
    assert [part["attacked"] for part in content["members"]] == [8, 6, 6, 5]
    assert [part["fallen"] for part in content["members"]] == [2, 0, 1, 1]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 20))
def test_merging_is_associative_and_keeps_the_order(a: int, b: int, c: int) -> None:
    first, second, third = (outcome(count, draw=i) for i, count in enumerate((a, b, c)))
    left, right = first.merge(second).merge(third), first.merge(second.merge(third))
    mine, its = left.to_dict(), right.to_dict()
    spectra = [content.pop("perturbation") for content in (mine, its)]
    assert mine == its
    assert [s is None for s in spectra] == [first.attacked + second.attacked + third.attacked == 0] * 2
    assert left.images == len(left.image_robust) == a + b + c
    assert np.array_equal(left.image_robust[a : a + b], second.image_robust)
    assert len(left.example_index) == min(EXAMPLES, left.attacked - left.standing)
    assert left.standing == first.standing + second.standing + third.standing


def test_leakage_is_averaged_over_what_moved() -> None:
    left = outcome(3, band="0:2", mean_leakage=0.1, max_leakage=0.2)
    right = outcome(9, band="0:2", mean_leakage=0.3, max_leakage=0.4)
    none = outcome(1, band="0:2")
    merged = none.merge(left).merge(right)
    assert (left.moved, right.moved) == (2, 6)
    assert merged.mean_leakage == pytest.approx((2 * 0.1 + 6 * 0.3) / 8)
    assert merged.max_leakage == 0.4


@pytest.mark.parametrize("changed", [{"epsilon": 0.25}, {"seed": 1}, {"model_flags": (("zero-gradient", "x", None),)}, {"band": "0:2"}])  # fmt: skip
def test_other_settings_are_not_merged(changed: dict[str, Any]) -> None:
    (name,) = changed
    with pytest.raises(InputMismatch, match=f"{name} is .* here and .* there"):
        outcome().merge(outcome(**changed))


def test_without_labels_somewhere_there_is_no_accuracy() -> None:
    merged = outcome(target="predicted").merge(outcome(labelled=False))
    assert merged.clean_accuracy is None
    assert merged.image_clean_correct is None


@pytest.mark.parametrize("changed", [{"standing": 9}, {"standing": -1}, {"images": 3}, {"moved": 9}, {"member_fallen": (1,)}, {"member_fallen": (1, 1)}])  # fmt: skip
def test_counts_that_no_images_have_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="accepted"):
        outcome(**changed)


def test_arrays_have_a_row_an_image() -> None:
    result = outcome(12, adversarial=np.zeros((12, 1, 4, 4), np.float32))
    arrays = result.arrays()
    names = (
        "clean_correct",
        "robust",
        "perturbation_norm",
        "forward_evaluations",
        "gradient_evaluations",
        "digest",
    )
    assert {name: len(arrays[name]) for name in (*names, "adversarial")} == dict.fromkeys(
        (*names, "adversarial"), 12
    )
    assert arrays["example_clean"].shape == arrays["example_adversarial"].shape == (4, 1, 4, 4)
    assert arrays["perturbation_power_map"].shape == (4, 4)
    assert AttackOutcome.from_dict(result.to_dict()).arrays().keys() <= arrays.keys()


def test_what_a_user_should_know_is_found() -> None:
    assert [finding.code for finding in outcome(labelled=False).findings] == ["no-labels"]
    nothing = outcome(1)
    assert nothing.success_rate is None
    assert nothing.success_rate_interval is None
    assert nothing.findings[-1].code == "nothing-attacked"
    assert nothing.findings[-1].level == "error"
    assert "1 of 10 images that stand have" in outcome(30, **MINIMAL).findings[-1].message


# Medians


def test_medians_are_of_what_fell_and_distances_of_all() -> None:
    result = outcome(30, **MINIMAL)
    norms, fallen = result.image_perturbation_norm, result.image_fallen
    assert result.median_perturbation_norm == median(norms[fallen], confidence=0.95)
    assert result.median_distance == median(norms[~np.isnan(norms)], confidence=0.95)
    assert outcome(30).median_distance is None
    assert outcome(1).median_perturbation_norm is None


def test_distances_without_end_are_null_and_come_back() -> None:
    norms = np.array([np.nan, 0.5, np.inf, np.nan, np.inf, np.inf])
    result = outcome(6, image_perturbation_norm=norms, **MINIMAL)
    assert result.median_distance == Median(math.inf, None)
    content = result.to_dict()
    assert content["median_distance"] is None
    again = AttackOutcome.from_dict(content)
    assert again.median_distance == result.median_distance
    half = outcome(30, **MINIMAL)
    norms = np.where(np.arange(30) % 5 == 1, np.inf, half.image_perturbation_norm)
    half = replace(half, image_perturbation_norm=norms)
    assert half.median_distance.interval is not None
    assert AttackOutcome.from_dict(half.to_dict()).median_distance == half.median_distance


@settings(deadline=None)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=60))
def test_medians_lie_in_their_interval_and_are_numpys(values: list[float]) -> None:
    found = median(np.array(values), confidence=0.95)
    assert found is not None
    assert found.value == pytest.approx(float(np.median(values)))
    assert (found.interval is None) == (len(values) < 6)
    if found.interval is not None:
        assert found.interval[0] <= found.value <= found.interval[1]


def test_intervals_of_medians_cover_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    held = []
    for _ in range(400):
        found = median(random.exponential(1, 25), confidence=0.9)
        assert found is not None
        assert found.interval is not None
        held.append(found.interval[0] <= math.log(2) <= found.interval[1])
    assert 0.88 < np.mean(held) < 0.98


def test_half_the_values_infinite_makes_no_number() -> None:
    assert median(np.array([1.0, np.inf]), confidence=0.95) == Median(math.inf, None)
    assert median(np.array([np.inf, np.inf]), confidence=0.95) == Median(math.inf, None)
    assert median(np.zeros(0), confidence=0.95) is None


@pytest.mark.parametrize("name", CASES)
def test_documents_are_valid_by_the_published_schema(name: str) -> None:
    schema = json.loads((ROOT / "docs" / "schema" / "specprobe-1.schema.json").read_text(encoding="utf-8"))
    content = document(CASES[name], model={}, data={}, provenance={"tool": "specprobe", "version": "0"})
    jsonschema.validate(json.loads(dump_json(content)), schema)


def test_every_number_has_a_name_and_a_value_by_image() -> None:
    result = outcome(12)
    found = {metric.name: metric for metric in metrics(result)}
    for name, values in (("clean_accuracy", 12), ("robust_accuracy", 12), ("success_rate", 8)):
        metric = found[f"attack.{name}"]
        assert metric.value == getattr(result, name)
        assert metric.interval == getattr(result, f"{name}_interval")
        assert metric.image_values is not None
        assert np.isfinite(metric.image_values).sum() == values
        assert np.nanmean(metric.image_values) == pytest.approx(metric.value)
    assert found["attack.median_perturbation_norm"].value == result.median_perturbation_norm.value
    centroid = found["attack.perturbation.centroid_cycles_per_image"]
    assert centroid.value == pytest.approx(float(result.perturbation.centroid_cycles_per_image))
    read = {metric.name: metric.value for metric in metrics(AttackOutcome.from_dict(result.to_dict()))}
    assert read == {name: metric.value for name, metric in found.items()}
    assert {metric.name for metric in metrics(outcome(1))} == set(found)
