"""``specprobe sensitivity``: one document, one table and one figure of the same numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from specprobe_cli.sensitivity_table import bar, sensitivity_table

from specprobe.results import from_document, read_document

BANDS = Path(__file__).resolve().parents[2] / "models" / "bands"


def high(*further: str | Path) -> tuple[str | Path, ...]:
    return ("sensitivity", BANDS / "high.onnx", "--data", BANDS / "high.npz", "--limit", "40", *further)


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
def test_documents_are_valid_and_read_back(document: Any, words: tuple[str, ...]) -> None:
    content = document(*high(*words))
    assert content["kind"] == "fourier_sensitivity"
    assert from_document(content).to_dict() == content["result"]
    asked = dict(zip(words[::2], words[1::2], strict=True))
    for name in ("channels", "basis", "loss", "target", "method"):
        if f"--{name}" in asked:
            assert content["result"][name] == content["provenance"]["settings"][name] == asked[f"--{name}"]
    assert content["data"]["images_used"] == content["result"]["images"]


def test_planted_band_is_in_the_document(document: Any) -> None:
    result = document(*high())["result"]
    assert result["cycles_per_image"] == list(range(1, 24))
    assert sum(result["power_share"][12:15]) > 0.75
    assert result["cycles_per_image"][int(np.argmax(result["power_share"]))] in {13, 14}
    assert result["clean_accuracy"] == 1
    assert result["power_share"][12] > 3 * result["white_noise_share"][12]


def test_images_without_labels_have_a_document(document: Any, refusal: Any, unlabelled: Any) -> None:
    words = ("sensitivity", BANDS / "high.onnx", "--data", unlabelled(BANDS / "high.npz", 5))
    content = document(*words)
    assert content["result"]["target"] == "predicted"
    assert content["result"]["clean_accuracy"] is None
    assert [finding["code"] for finding in content["result"]["findings"]] == ["no-labels"]
    assert "--labels FILE" in refusal(*words, "--target", "true", code=4)


def test_npz_holds_the_map_and_numbers_of_each_image(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.npz"
    code, out, _ = run(*high("-o", path, "-q"))
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


def test_table_draws_the_profile_beside_white_noise(run: Any) -> None:
    code, out, _ = run(*high())
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert lines["14"].count("█") > 5 * lines["10"].count("█")
    assert "┃" in lines["14"]
    assert "│" in lines["5"]
    assert "high (11–23)" in out
    assert "white noise" in out
    assert "accuracy  1.000 [" in out
    assert "Largest at" in out


def test_many_rings_share_rows_unless_all_are_asked_for(document: Any, shown: Any) -> None:
    content = document(*high())
    result, rings = content["result"], 158
    result["cycles_per_image"] = list(range(1, rings + 1))
    result["power_share"] = result["white_noise_share"] = [1 / rings] * rings
    result["power_share_interval"] = [[0, 1]] * rings
    short = shown(sensitivity_table(content, every_ring=False))
    whole = shown(sensitivity_table(content, every_ring=True))
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
def test_figures_are_written_and_equal(run: Any, tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        assert run(*high("-q", "-o", tmp_path / f"{name}.{suffix}"))[0] == 0
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_a_run_without_data_is_a_usage_error(refusal: Any) -> None:
    assert "give them with --data SRC" in refusal("sensitivity", BANDS / "high.onnx")


def test_frequencies_are_drawn_for_finite_differences_only(refusal: Any) -> None:
    assert "goes with --method finite-difference" in refusal(*high("--frequencies-per-ring", "2"))


def test_a_basis_that_does_not_exist_for_the_size_is_refused(refusal: Any, tmp_path: Path) -> None:
    text = "g (float[N, 1, 6, 6] image) => (float[N, 36] logits) { logits = Flatten (image) }"
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')
    onnx.save(model, tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", images=np.zeros((3, 6, 6, 1), np.uint8))
    words = ("sensitivity", tmp_path / "model.onnx", "--data", tmp_path / "data.npz")
    assert "powers of two" in refusal(*words, "--basis", "hadamard", code=4)


def test_an_interrupted_run_resumes_to_the_same_document(resumed: Any) -> None:
    words = (*high(), "--limit", "150", "--batch-size", "64")
    resumed(*words, stop=lambda made, _: len(made) == 2, method="logits_and_gradient")


@pytest.mark.assets
def test_reference_of_another_framework_is_met(document: Any, assets: Path) -> None:
    result = document(
        *("sensitivity", assets / "models" / "cifar10_ada_resnet4b_standard.onnx"),
        *("--data", assets / "data" / "cifar10_lossless_test.npz", "--limit", "200"),
        *("--channels", "mean_before"),
    )["result"]
    peak = int(np.argmax(result["power_share"]))
    assert round(result["clean_accuracy"], 3) == 0.810
    assert (result["cycles_per_image"][peak], round(result["power_share"][peak], 4)) == (13, 0.1091)
    assert round(sum(result["power_share"][:5]), 3) == 0.031
    assert round(sum(result["power_share"][10:]), 3) == 0.720
