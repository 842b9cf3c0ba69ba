"""``specprobe corruptions`` and the shapes of what it and ``audit`` write."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specprobe
from specprobe.results import from_document

DIGITS = Path(specprobe.__file__).parent.parent / "models" / "digits"
WORDS = ("corruptions", DIGITS / "normal.onnx", "--data", DIGITS / "test.npz", "--limit", "70")


def test_a_document_is_valid_and_read_back(document: Any) -> None:
    content = document(*WORDS, "--corruption", "fog", "--corruption", "jpeg", "--severity", "3")
    assert [entry["corruption"] for entry in content["result"]["entries"]] == ["fog", "jpeg"]
    result = from_document(content)
    assert result.severities == (3,)
    images = specprobe.load_images(DIGITS / "test.npz", limit=70)
    expected = specprobe.corruption_accuracy(
        specprobe.load(DIGITS / "normal.onnx"), images, corruptions=("fog", "jpeg"), severities=(3,)
    )
    assert np.array_equal(result.correct, expected.correct)


def test_files_and_table(run: Any, tmp_path: Path) -> None:
    files = [tmp_path / f"c{suffix}" for suffix in (".npz", ".png", ".svg", ".html")]
    destinations = [word for file in files for word in ("-o", file)]
    code, out, _ = run(*WORDS, "--severity", "1", "--severity", "5", *destinations)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 120
    for word in ("gaussian-noise", "jpeg", "mean error", "clean accuracy", "Rank"):
        assert word in out
    assert all(file.stat().st_size > 1000 for file in files)
    with np.load(files[0]) as archive:
        assert archive["correct"].shape == (70, 7, 2)


def test_wrong_words_are_refused(run: Any) -> None:
    assert run("corruptions", DIGITS / "normal.onnx")[0] == 2
    assert run(*WORDS, "--corruption", "rain")[0] == 2
    assert run(*WORDS, "--severity", "6")[0] == 2


def test_an_audit_is_valid_too(document: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model, data = (DIGITS / name for name in ("normal.onnx", "test.npz"))
    (tmp_path / "specprobe.toml").write_text(
        f"""
models = "{model}"
[data]
source = "{data}"
limit = 40
[[check]]
metric = "corruptions.fog.accuracy"
min = 0.1
settings = {{ corruptions = ["fog"], severities = [1] }}
[[check]]
metric = "corruptions.jpeg.accuracy"
min = 0.999
settings = {{ corruptions = ["jpeg"], severities = [5] }}
[[check]]
metric = "heatmap.error_rate.max"
max = 1
settings = {{ frequencies = 3 }}
limit = 8
[[check]]
metric = "bands.radius_95"
max = 16
""",
        encoding="utf-8",
    )
    content = document("audit")
    statuses = [verdict["status"] for verdict in content["result"]["verdicts"]]
    assert statuses[0] == statuses[2] == "pass"
    assert from_document(content).to_dict() == content["result"]
