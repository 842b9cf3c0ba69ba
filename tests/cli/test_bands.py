"""``specprobe bands``: what it prints and writes, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import specprobe_cli

import specprobe
from specprobe.results import from_document, read_document

ROOT = Path(__file__).resolve().parents[2]
BANDS = ROOT / "models" / "bands"
SCHEMA = json.loads((ROOT / "docs" / "schema" / "specprobe-1.schema.json").read_text(encoding="utf-8"))
RUN = ("bands", BANDS / "mid.onnx", "--data", BANDS / "mid.npz", "--limit", "70", "--radii", "3,8,12")


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        specprobe_cli.main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def document(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    code, out, err = run(capsys, *words, "--json")
    assert code == 0, err
    content: dict[str, Any] = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    jsonschema.validate(content, SCHEMA)
    return content


def test_document_is_valid_reads_back_and_is_what_the_library_gives(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ("--bands", "7:9,13:", "--wedges", "-22.5:22.5", "--clip", "--restore-mean")
    content = document(capsys, *RUN, *options)
    result = from_document(content)
    assert content["kind"] == "band_accuracy"
    assert result.to_dict() == content["result"]
    assert content["data"]["images_used"] == content["result"]["images"] == 70
    assert content["provenance"]["settings"]["radii"] == [3, 8, 12]
    assert str(ROOT) not in json.dumps(content)
    library = specprobe.band_accuracy(
        specprobe.load(BANDS / "mid.onnx"),
        specprobe.load_images(BANDS / "mid.npz"),
        radii=(3, 8, 12),
        bands=((7, 9), (13, np.inf)),
        wedges=((-22.5, 22.5),),
        clip=True,
        restore_mean=True,
        limit=70,
    )
    assert library.to_dict() == content["result"]


def test_document_without_labels_is_valid(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with np.load(BANDS / "mid.npz") as archive:
        np.savez(tmp_path / "images.npz", images=archive["images"][:30])
    words = ("bands", BANDS / "mid.onnx", "--data", tmp_path / "images.npz")
    content = document(capsys, *words)
    assert content["result"]["clean_accuracy"] is None
    assert from_document(content).to_dict() == content["result"]
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert "the images have no labels" in out


def test_table_shows_curves_reference_and_radius(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *RUN, "--bands", "7:9", "--wedges", "0:45", "-v")
    assert (code, err) == (0, "")
    for words in (
        "low-pass",
        "high-pass",
        "without band",
        "without wedge",
        "clean accuracy",
        "chance",
        "7:9",
    ):
        assert words in out
    assert "radius_95  8 [8, –]" in out
    assert "radius_95 has no upper bound: 70 images establish" in out
    assert "█" in out
    assert max(map(len, out.splitlines())) <= 120


def test_files_hold_the_arrays_and_the_figure(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    names = [tmp_path / f"out{suffix}" for suffix in (".json", ".npz", ".png", ".svg")]
    code, out, _ = run(capsys, *RUN, "-q", *(word for name in names for word in ("-o", name)))
    assert (code, out) == (0, "")
    assert read_document(names[0]) == read_document(names[1])
    result = read_document(names[0])["result"]
    with np.load(names[1], allow_pickle=False) as archive:
        assert archive["digest"].shape == (70, 16)
        assert archive["clean_correct"].mean() == result["clean_accuracy"]
        assert archive["low_pass_correct"].mean(axis=0).tolist() == [
            entry["accuracy"] for entry in result["low_pass"]
        ]
    assert names[2].read_bytes().startswith(b"\x89PNG")
    assert "<svg" in names[3].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--radii", "1,x"), "'1,x' is not a list of radii from 0 such as 1,2,4,8"),
        (("--radii", "-1"), "'-1' is not a list of radii"),
        (("--radii", "inf"), "'inf' is not a list of radii"),
        (("--bands", "3"), "'3' is not a list of ranges low:high such as 3:5,7:9"),
        (("--bands", "5:3"), "'5:3' is not a list of ranges"),
        (("--bands", "-1:3"), "'-1:3' is not a list of ranges"),
        (("--bands", "1:2:3"), "'1:2:3' is not a list of ranges"),
        (("--wedges", "0:181"), "'0:181' is not a list of ranges"),
        (("--wedges", "nan:3"), "'nan:3' is not a list of ranges"),
    ],
)
def test_filters_out_of_range_are_usage_errors(
    capsys: pytest.CaptureFixture[str], words: tuple[str, str], message: str
) -> None:
    code, out, err = run(capsys, "bands", BANDS / "mid.onnx", "--data", BANDS / "mid.npz", *words)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())


def test_data_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "bands", BANDS / "mid.onnx")
    assert code == 2
    assert "bands needs images to filter: --data SRC" in err


def test_interrupted_run_resumes_to_the_same_document(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from specprobe.runtime.network import Network

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    whole = document(capsys, *RUN)
    logits, calls = Network.logits, []

    def interrupted(self: Network, images: Any) -> Any:
        calls.append(len(images))
        if len(calls) == 16:  # in the second shard
            raise KeyboardInterrupt
        return logits(self, images)

    monkeypatch.setattr(Network, "logits", interrupted)
    code, out, err = run(capsys, *RUN)
    assert (code, out) == (130, "")
    assert "--resume" in err
    calls.clear()
    calls.extend([0] * 100)
    resumed = document(capsys, *RUN, "--resume")
    assert resumed["result"] == whole["result"]
    assert len(calls) - 100 == 2, "only the six images of the second shard, under seven filters"
