"""Verdicts go by intervals; waivers last until their day."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from specprobe.audit.config import Check, Waiver
from specprobe.audit.verdicts import AuditResult, Limit, Verdict, judge, waived

CHECK = Check(name="c", metric="accuracy", minimum=0.5)
TODAY = dt.date(2026, 12, 1)


def verdict(value: float | None, interval: Any, limit: Limit, **settings: Any) -> Verdict:
    return judge(replace(CHECK, **settings), "m.onnx", limit, value=value, interval=interval)


@pytest.mark.parametrize(
    ("interval", "status"),
    [
        ((0.5, 0.7), "pass"),
        ((0.55, 0.7), "pass"),
        ((0.4, 0.499), "fail"),
        ((0.4, 0.5), "inconclusive"),
        ((0.4, 0.8), "inconclusive"),
    ],
)
def test_a_minimum(interval: tuple[float, float], status: str) -> None:
    value = sum(interval) / 2
    found = verdict(value, interval, Limit(minimum=0.5, origin="min 0.5"))
    assert (found.status, found.limit, found.measured_interval) == (status, 0.5, interval)
    mirrored = verdict(-value, (-interval[1], -interval[0]), Limit(maximum=-0.5, origin="max -0.5"))
    assert mirrored.status == status


@pytest.mark.parametrize(
    ("value", "interval", "status", "limit"),
    [
        (0.5, (0.45, 0.55), "pass", 0.4),
        (0.42, (0.3, 0.5), "inconclusive", 0.4),
        (0.9, (0.8, 0.95), "fail", 0.6),
        (0.62, (0.3, 0.7), "inconclusive", 0.6),
    ],
)
def test_both_limits(value: float, interval: Any, status: str, limit: float) -> None:
    found = verdict(value, interval, Limit(minimum=0.4, maximum=0.6, origin="both"))
    assert (found.status, found.limit) == (status, limit)


def test_what_was_measured_itself_is_kept_by_the_value() -> None:
    limit = Limit(minimum=0.5, origin="the baseline 0.5", whole=False)
    assert verdict(0.5, (0.4, 0.6), limit).status == "pass"
    assert verdict(0.49, (0.4, 0.6), limit).status == "inconclusive"
    assert verdict(0.3, (0.2, 0.4), limit).status == "fail"


def test_without_an_interval_the_value_decides_and_without_a_value_nothing_does() -> None:
    assert verdict(3, None, Limit(maximum=3, origin="max 3")).status == "pass"
    assert verdict(4, None, Limit(maximum=3, origin="max 3")).status == "fail"
    found = verdict(None, None, Limit(maximum=3, origin="max 3"))
    assert (found.status, found.fails) == ("error", True)
    assert found.message == "accuracy is undefined for m.onnx"


@pytest.mark.parametrize(
    ("severity", "fails", "warns"), [("fail", True, False), ("warn", False, True), ("pass", False, False)]
)
def test_an_inconclusive_check_counts_as_it_is_told(severity: Any, fails: bool, warns: bool) -> None:
    found = verdict(0.5, (0.4, 0.6), Limit(minimum=0.5, origin="min 0.5"), inconclusive=severity)
    assert (found.status, found.fails, found.warns) == ("inconclusive", fails, warns)
    assert AuditResult(verdicts=(found,), confidence=0.95).status == ("fail" if fails else "pass")


def test_messages_hold_the_numbers() -> None:
    found = verdict(0.3, (0.25, 0.35), Limit(minimum=0.5, origin="min 0.5"))
    assert found.message == "accuracy 0.3 [0.25, 0.35] does not keep min 0.5"


def waiver(**settings: Any) -> Waiver:
    return Waiver(**{"check": "c", "model": "*", "reason": "known", "expires": TODAY, **settings})


def test_a_waiver_lasts_to_the_end_of_its_day() -> None:
    bad = verdict(0.3, (0.25, 0.35), Limit(minimum=0.5, origin="min 0.5"))
    (held,), notes = waived([bad], [waiver()], today=TODAY)
    assert (held.status, held.fails, held.warns, notes) == ("waived", False, True, ())
    assert held.message.endswith("waived until 2026-12-01: known")
    (late,), notes = waived([bad], [waiver()], today=TODAY + dt.timedelta(days=1))
    assert late == bad
    assert notes == ("the waiver of 'c' for '*' expired on 2026-12-01",)


def test_a_waiver_that_is_needed_no_more_is_told() -> None:
    good = verdict(0.9, (0.8, 1.0), Limit(minimum=0.5, origin="min 0.5"))
    assert waived([good], [waiver()], today=TODAY) == (
        (good,),
        ("the waiver of 'c' for '*' is needed no more: all pass",),
    )
    _, (note,) = waived([good], [waiver(check="d")], today=TODAY)
    assert note.endswith("nothing is called so")


def test_a_waiver_holds_only_for_its_models() -> None:
    bad = verdict(0.3, (0.25, 0.35), Limit(minimum=0.5, origin="min 0.5"))
    (held, other), _ = waived([bad, replace(bad, model="other.onnx")], [waiver(model="m.*")], today=TODAY)
    assert (held.status, other.status) == ("waived", "fail")


def test_results_survive_json() -> None:
    open_ended = verdict(3.0, (2.0, float("inf")), Limit(minimum=1.0, origin="min 1"))
    broken = verdict(None, None, Limit(minimum=1.0, origin="min 1"))
    result = AuditResult(verdicts=(open_ended, broken), confidence=0.9, notes=("a note",))
    content = result.to_dict()
    assert content["status"] == "fail"
    assert content["counts"] == {"pass": 1, "fail": 0, "inconclusive": 0, "waived": 0, "error": 1}
    assert content["verdicts"][0]["measured_interval"] == [2.0, None]
    assert AuditResult.from_dict(content) == result
