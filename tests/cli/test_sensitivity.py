"""``specprobe sensitivity``: one document, one table and one figure of the same numbers."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import specprobe_cli
from specprobe_cli.output import show
from specprobe_cli.sensitivity_table import bar, sensitivity_table

from specprobe.results import from_document, read_document

ROOT = Path(__file__).resolve().parents[2]
BANDS = ROOT / "models" / "bands"
DIGITS = ROOT / "models" / "digits"
SCHEMA = json.loads((ROOT / "docs" / "schema" / "specprobe-1.schema.json").read_text(encoding="utf-8"))


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        specprobe_cli.main(["sensitivity", *map(str, words)])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def document(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    code, out, err = run(capsys, *words, "--json")
    assert code == 0, err
    content: dict[str, Any] = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    jsonschema.validate(content, SCHEMA)
    return content


def high(*further: str | Path) -> tuple[str | Path, ...]:
    return (BANDS / "high.onnx", "--data", BANDS / "high.npz", "--limit", "40", *further)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--channels", "mean_before"),
        ("--basis", "haar"),
        ("--basis", "hadamard", "--loss", "margin"),
        ("--target", "predicted", "--method", "gradient"),
        ("--limit", "1"),
        ("--method", "finite-difference", "--frequencies-per-ring", "2", "--limit", "2"),
    ],
    ids=" ".join,
)
def test_documents_are_valid_and_read_back(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    content = document(capsys, *high(*words))
    assert content["kind"] == "fourier_sensitivity"
    assert from_document(content).to_dict() == content["result"]
    asked = dict(zip(words[::2], words[1::2], strict=True))
    for name in ("channels", "basis", "loss", "target", "method"):
        if f"--{name}" in asked:
            assert content["result"][name] == content["provenance"]["settings"][name] == asked[f"--{name}"]
    assert content["data"]["images_used"] == content["result"]["images"]


def test_planted_band_is_in_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    result = document(capsys, *high())["result"]
    assert result["cycles_per_image"] == list(range(1, 24))
    assert sum(result["power_share"][12:15]) > 0.75
    assert result["cycles_per_image"][int(np.argmax(result["power_share"]))] in {13, 14}
    assert result["clean_accuracy"] == 1
    assert result["power_share"][12] > 3 * result["white_noise_share"][12]


def test_images_without_labels_have_a_document(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with np.load(BANDS / "high.npz") as archive:
        np.savez(tmp_path / "bare.npz", images=archive["images"][:5])
    content = document(capsys, BANDS / "high.onnx", "--data", tmp_path / "bare.npz")
    assert content["result"]["target"] == "predicted"
    assert content["result"]["clean_accuracy"] is None
    assert [finding["code"] for finding in content["result"]["findings"]] == ["no-labels"]
    code, out, err = run(capsys, BANDS / "high.onnx", "--data", tmp_path / "bare.npz", "--target", "true")
    assert (code, out) == (4, "")
    assert "--labels FILE" in err


def test_npz_holds_the_map_and_numbers_of_each_image(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "out.npz"
    code, out, _ = run(capsys, *high("-o", path, "-q"))
    assert (code, out) == (0, "")
    result = read_document(path)["result"]
    with np.load(path, allow_pickle=False) as archive:
        assert archive["power_map"].shape == tuple(result["map_shape"])
        assert archive["power_map"].sum() == pytest.approx(1, abs=1e-6)
        assert archive["power_map"][16, 16] == 0
        assert archive["high_share"].mean() == pytest.approx(result["high_share"])
        assert archive["power_share"].tolist() == result["power_share"]
        assert archive["digest"].shape == (40, 16)
        assert archive["correct"].sum() == result["correct"]
        assert archive["gradient_l2_norm"].shape == archive["spectral_entropy_bits"].shape == (40,)


def test_table_draws_the_profile_beside_white_noise(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, *high())
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert lines["14"].count("█") > 5 * lines["10"].count("█")
    assert "┃" in lines["14"]
    assert "│" in lines["5"]
    assert "high (11–23)" in out
    assert "white noise" in out
    assert "accuracy  1.000 [" in out
    assert "Largest at" in out


def test_many_rings_share_rows_unless_all_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    content = document(capsys, *high())
    result, rings = content["result"], 158
    result["cycles_per_image"] = list(range(1, rings + 1))
    result["power_share"] = result["white_noise_share"] = [1 / rings] * rings
    result["power_share_interval"] = [[0, 1]] * rings
    show(sensitivity_table(content, every_ring=False))
    short = capsys.readouterr().out
    show(sensitivity_table(content, every_ring=True))
    whole = capsys.readouterr().out
    assert "1–10" in short
    assert "151–158" in short
    assert len(short.splitlines()) < 35
    assert len(whole.splitlines()) > rings


@pytest.mark.parametrize(
    ("value", "reference", "drawn"),
    [
        (0, 0.5, "    │   "),
        (1, 0.5, "████┃███"),
        (0.5, 1, "████   │"),
        (0.0625, 0.5, "▌   │   "),
        (0.25, 0, "┃█      "),
    ],
)
def test_bar(value: float, reference: float, drawn: str) -> None:
    assert bar(value, reference, full=1, width=8) == drawn


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_figures_are_written_and_equal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, suffix: str
) -> None:
    for name in ("a", "b"):
        assert run(capsys, *high("-q", "-o", tmp_path / f"{name}.{suffix}"))[0] == 0
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_a_run_without_data_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, BANDS / "high.onnx")
    assert (code, out) == (2, "")
    assert "give them with --data SRC" in err


def test_frequencies_are_drawn_for_finite_differences_only(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *high("--frequencies-per-ring", "2"))
    assert (code, out) == (2, "")
    assert "goes with --method finite-difference" in err


def test_a_basis_that_does_not_exist_for_the_size_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    words = (DIGITS / "normal.onnx", "--data", DIGITS / "test.npz", "--limit", "3")
    with np.load(DIGITS / "test.npz") as archive:
        side = archive["images"].shape[1]
    if side & (side - 1):
        code, out, err = run(capsys, *words, "--basis", "hadamard")
        assert (code, out) == (4, "")
        assert "powers of two" in err


def test_an_interrupted_run_resumes_to_the_same_document(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from specprobe.runtime.network import Network

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    words = (BANDS / "high.onnx", "--data", BANDS / "high.npz", "--limit", "150", "--batch-size", "64")
    whole = document(capsys, *words)
    gradient, calls = Network.logits_and_gradient, []

    def interrupted(self: Network, *arrays: Any, **settings: Any) -> Any:
        calls.append(len(arrays[0]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return gradient(self, *arrays, **settings)

    monkeypatch.setattr(Network, "logits_and_gradient", interrupted)
    code, out, err = run(capsys, *words)
    assert (code, out) == (130, "")
    assert "--resume" in err
    monkeypatch.setattr(Network, "logits_and_gradient", gradient)
    resumed = document(capsys, *words, "--resume")
    assert resumed["result"] == whole["result"]
    assert resumed["data"] == whole["data"]


@pytest.mark.assets
def test_reference_of_another_framework_is_met(assets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = document(
        capsys,
        assets / "models" / "cifar10_ada_resnet4b_standard.onnx",
        *(
            "--data",
            assets / "data" / "cifar10_lossless_test.npz",
            "--limit",
            "200",
            "--channels",
            "mean_before",
        ),
    )["result"]
    peak = int(np.argmax(result["power_share"]))
    assert round(result["clean_accuracy"], 3) == 0.810
    assert (result["cycles_per_image"][peak], round(result["power_share"][peak], 4)) == (13, 0.1091)
    assert round(sum(result["power_share"][:5]), 3) == 0.031
    assert round(sum(result["power_share"][10:]), 3) == 0.720
