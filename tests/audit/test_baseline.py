"""Baselines tighten, and loosen only when told to."""

from pathlib import Path
from typing import Any

import pytest

from specprobe.audit.baseline import Entry, limit_of, read_baseline, updated, write_baseline
from specprobe.audit.config import Check
from specprobe.errors import ConfigError

HIGHER = Check(name="c", metric="accuracy", baseline=True, better="higher", tolerance=0.01)
LOWER = Check(name="d", metric="sensitivity.high_share", baseline=True, better="lower")


def entry(value: float, metric: str = "accuracy", **settings: Any) -> Entry:
    return Entry(metric=metric, value=value, **settings)


def test_a_file_is_read_as_written_and_sorted(tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    baseline = {
        ("b.onnx", "c"): entry(0.9, interval=(0.8, 0.95), images=100),
        ("a.onnx", "d"): entry(0.2),
        ("a.onnx", "c"): entry(0.7),
    }
    write_baseline(path, baseline)
    assert read_baseline(path) == baseline
    text = path.read_text(encoding="utf-8")
    assert text.index("a.onnx") < text.index("b.onnx")
    write_baseline(path, dict(reversed(baseline.items())))
    assert path.read_text(encoding="utf-8") == text
    assert read_baseline(tmp_path / "none.json") == {}


@pytest.mark.parametrize("text", ["", "[]", '{"schema": "other"}', '{"schema": "specprobe-baseline/1"}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "base.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"base\.json is no baseline: .*; write one with --update-baseline"):
        read_baseline(path)


def test_limits_are_as_tolerant_as_the_check() -> None:
    assert limit_of(HIGHER, entry(0.9)).minimum == pytest.approx(0.89)
    assert limit_of(HIGHER, entry(0.9)).maximum is None
    assert limit_of(LOWER, entry(0.2)).maximum == 0.2
    assert limit_of(LOWER, entry(0.2)).minimum is None


@pytest.mark.parametrize(("check", "better", "worse"), [(HIGHER, 0.95, 0.85), (LOWER, 0.1, 0.3)])
def test_better_comes_in_and_worse_stays_out(check: Check, better: float, worse: float) -> None:
    key = ("m", check.name)
    metric = check.metric
    old = {key: entry(0.9 if check is HIGHER else 0.2, metric)}
    made, notes = updated(old, [("m", check, entry(better, metric))])
    assert made[key].value == better
    assert len(notes) == 1
    made, (note,) = updated(old, [("m", check, entry(worse, metric))])
    assert made == old
    assert "is worse than" in note
    made, _ = updated(old, [("m", check, entry(worse, metric))], allow_worse=True)
    assert made[key].value == worse
    assert updated(old, [("m", check, old[key])], allow_worse=True) == (old, ())


def test_new_ones_come_in_and_old_ones_go() -> None:
    old = {("gone", "c"): entry(0.5), ("m", "c"): entry(0.9, "another.metric")}
    made, notes = updated(old, [("m", HIGHER, entry(0.3))])
    assert made == {("m", "c"): entry(0.3)}
    assert notes == ("m, c: 0.3, new", "gone, c: gone")
