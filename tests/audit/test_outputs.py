"""Formats for CI: read back by other programs, and by the rules that hosts have for them."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from specprobe.audit.ci import code_quality, github_annotations, markdown
from specprobe.audit.junit import junit
from specprobe.audit.sarif import sarif
from specprobe.audit.verdicts import AuditResult, Verdict

EVIL = "a | b `c` <script>,:%\n\x00\x1b[31m 😀"


def verdict(check: str, status: Any, **settings: Any) -> Verdict:
    return Verdict(
        **{
            "model": "m.onnx",
            "check": check,
            "metric": "accuracy",
            "status": status,
            "measured": 0.5,
            "measured_interval": (0.4, 0.6),
            "limit": 0.7,
            "origin": "min 0.7",
            "message": f"told of {check}",
            "line": 3,
            **settings,
        }
    )


@pytest.fixture
def result() -> AuditResult:
    return AuditResult(
        verdicts=(
            verdict("good", "pass"),
            verdict("bad", "fail"),
            verdict("unsure", "inconclusive"),
            verdict("strict", "inconclusive", inconclusive="fail"),
            verdict("known", "waived"),
            verdict("broken", "error", measured=None, measured_interval=None, limit=None, model="n.onnx"),
            verdict("evil", "fail", message=EVIL, model=EVIL),
        ),
        confidence=0.95,
        notes=("a note",),
    )


def test_junit_is_read_back(result: AuditResult, tmp_path: Path) -> None:
    junitparser = pytest.importorskip("junitparser")
    path = tmp_path / "j.xml"
    path.write_text(junit(result, properties={"data": "test.npz"}), encoding="utf-8")
    suites = list(junitparser.JUnitXml.fromfile(str(path)))
    assert [suite.name for suite in suites[:2]] == ["m.onnx", "n.onnx"]
    first = suites[0]
    assert (first.tests, first.failures, first.errors, first.skipped) == (5, 2, 0, 2)
    kinds = {case.name: [type(part).__name__ for part in case.result] for case in first}
    assert kinds == {
        "good": [],
        "bad": ["Failure"],
        "unsure": ["Skipped"],
        "strict": ["Failure"],
        "known": ["Skipped"],
    }
    (bad,) = (case for case in first if case.name == "bad")
    assert bad.result[0].text == "fail: bad of m.onnx: told of bad"
    assert [type(part).__name__ for case in suites[1] for part in case.result] == ["Error"]


def test_junit_has_what_readers_ask_for(result: AuditResult) -> None:
    root = ET.fromstring(junit(result))
    assert root.attrib == {
        "name": "specprobe audit",
        "tests": "7",
        "failures": "3",
        "errors": "1",
        "skipped": "2",
        "time": "0",
    }
    for case in root.iter("testcase"):
        assert case.attrib.keys() == {"name", "classname", "time"}
        for failure in case.findall("failure"):
            assert failure.attrib["message"] in (failure.text or "")
    held = {p.attrib["name"]: p.attrib["value"] for p in root.iter("property")}
    assert held["measured_interval"] == "(0.4, 0.6)"


def test_sarif_is_what_github_takes(result: AuditResult) -> None:
    log = sarif(result, config="ci/specprobe.toml", version="1.2.3")
    (run,) = log["runs"]
    assert (log["version"], run["tool"]["driver"]["semanticVersion"]) == ("2.1.0", "1.2.3")
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(set(rules)) == len(rules)
    prints = set()
    for found in run["results"]:
        # Without these GitHub refuses the whole file.
        (location,) = found["locations"]
        place = location["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "ci/specprobe.toml"
        assert place["region"]["startLine"] == 3
        assert rules[found["ruleIndex"]] == found["ruleId"]
        assert found["message"]["text"]
        prints.add(found["partialFingerprints"]["specprobe/v1"])
    assert len(prints) == len(run["results"]) == 6
    levels = {found["ruleId"]: found["level"] for found in run["results"]}
    assert levels == {
        "bad": "error",
        "unsure": "warning",
        "strict": "error",
        "known": "warning",
        "broken": "error",
        "evil": "error",
    }
    suppressed = [found["ruleId"] for found in run["results"] if "suppressions" in found]
    assert suppressed == ["known"]
    assert not run["invocations"][0]["executionSuccessful"]
    json.dumps(log, allow_nan=False)


def test_sarif_is_valid_for_another_reader(result: AuditResult) -> None:
    models = pytest.importorskip("sarif_pydantic")
    log = json.loads(json.dumps(sarif(result, config="specprobe.toml", version="1.2.3")))
    read = models.Sarif.model_validate(log)
    assert len(read.runs[0].results) == 6


def test_annotations_are_escaped_and_counted(result: AuditResult) -> None:
    lines = github_annotations(result, config="specprobe.toml")
    assert len(lines) == 6
    assert lines[0] == "::error file=specprobe.toml,line=3,title=bad%3A m.onnx::told of bad"
    assert all("\n" not in line and line.startswith(("::error ", "::warning ")) for line in lines)
    assert sum(line.startswith("::warning ") for line in lines) == 2
    assert "%0A" in lines[3]
    assert "%2C" in lines[3].split("::")[1]
    many = AuditResult(verdicts=tuple(verdict(f"c{i}", "fail") for i in range(25)), confidence=0.95)
    lines = github_annotations(many, config="specprobe.toml")
    assert len(lines) == 10
    assert lines[-1] == "::error title=specprobe::16 more; the summary of this step has them all"


def test_the_summary_is_one_table_whatever_it_holds(result: AuditResult) -> None:
    text = markdown(result)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 7
    # Cells are as many as heads, whatever stands in them.
    for row in rows:
        assert len(row.replace("\\|", "").split("|")) == 8
    assert "<script>" not in text
    assert rows[2].startswith(
        "| ❌ fail | m.onnx | bad | 0.5 [0.4, 0.6]".replace("[", "\\[").replace("]", "\\]")
    )
    assert text.splitlines()[0] == "## specprobe audit: fail"
    assert text.rstrip().endswith("- a note")


def test_the_summary_fits_what_github_takes() -> None:
    many = tuple(verdict(f"c{i}", "fail", message="x" * 1000) for i in range(2000))
    text = markdown(AuditResult(verdicts=many, confidence=0.95))
    assert len(text.encode()) < 1 << 20
    assert " more | | | | |" in text


def test_code_quality_has_what_gitlab_asks_for(result: AuditResult) -> None:
    entries = code_quality(result, config="specprobe.toml")
    assert [entry["check_name"] for entry in entries] == [
        "bad",
        "unsure",
        "strict",
        "known",
        "broken",
        "evil",
    ]
    assert {entry["severity"] for entry in entries} <= {"info", "minor", "major", "critical", "blocker"}
    assert len({entry["fingerprint"] for entry in entries}) == 6
    for entry in entries:
        assert entry["description"]
        assert entry["location"] == {"path": "specprobe.toml", "lines": {"begin": 3}}
