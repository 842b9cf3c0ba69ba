"""What commands print and write: valid by the published schema, read back, and the same wherever it goes."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from specprobe.results import from_document, read_document

DIGITS = Path(__file__).resolve().parents[2] / "models" / "digits"


def test_inspection_without_data_is_valid_and_reads_back(document: Any) -> None:
    content = document("inspect", DIGITS / "normal.onnx")
    result = from_document(content)
    assert result.accuracy is None
    assert content["data"] is None
    assert result.to_dict() == content["result"]


def test_inspection_with_data_is_valid_and_reads_back(document: Any) -> None:
    content = document("inspect", DIGITS / "robust.onnx", "--data", DIGITS / "test.npz")
    result = from_document(content)
    low, high = content["result"]["accuracy_interval"]
    assert low < content["result"]["accuracy"] < high
    assert result.to_dict() == content["result"]
    assert content["data"]["images_used"] == content["data"]["images"] == result.accuracy.images
    assert content["provenance"]["settings"]["device"] == "cpu"


def test_documents_name_no_folder(document: Any) -> None:
    content = document("inspect", DIGITS / "robust.onnx", "--data", DIGITS / "test.npz")
    assert str(DIGITS) not in json.dumps(content)


def test_filters_of_several_models_is_a_collection(document: Any) -> None:
    content = document("filters", DIGITS / "normal.onnx", DIGITS / "robust.onnx")
    assert [part["model"]["file"] for part in content["documents"]] == ["normal.onnx", "robust.onnx"]
    assert len(from_document(content)) == 2


def test_npz_holds_document_and_kernels(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "kernels.npz"
    code, out, _ = run("filters", DIGITS / "normal.onnx", "-o", path)
    assert code == 0
    assert "orthog." in out
    layers = read_document(path)["result"]["layers"]
    with np.load(path, allow_pickle=False) as archive:
        assert list(archive["name"]) == [layer["name"] for layer in layers]
        for i, layer in enumerate(layers):
            shape = (layer["out_channels"], layer["in_channels"] // layer["groups"], *layer["kernel"])
            assert archive[f"kernel_{i:04d}"].shape == shape


def test_files_hold_what_is_printed(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    code, out, _ = run("inspect", DIGITS / "normal.onnx", "--json", "-o", path)
    assert code == 0
    assert path.read_text(encoding="utf-8") == out


def test_quiet_prints_nothing(run: Any, tmp_path: Path) -> None:
    code, out, err = run("inspect", DIGITS / "normal.onnx", "-q", "-o", tmp_path / "out.npz")
    assert (code, out, err) == (0, "", "")
    assert read_document(tmp_path / "out.npz")["kind"] == "inspection"


def test_npz_of_an_inspection_holds_one_flag_and_digest_an_image(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.npz"
    run("inspect", DIGITS / "robust.onnx", "--data", DIGITS / "test.npz", "--limit", "40", "-o", path)
    with np.load(path, allow_pickle=False) as archive:
        assert archive["correct"].shape == (40,)
        assert archive["digest"].shape == (40, 16)
        assert archive["correct"].sum() == read_document(path)["result"]["accuracy_detail"]["correct"]


def test_interrupted_run_leaves_130_and_resumes_to_the_same_document(resumed: Any) -> None:
    words = ("inspect", DIGITS / "robust.onnx", "--data", DIGITS / "test.npz", "--batch-size", "64")
    done = resumed(*words, stop=lambda made, whole: len(made) == len(whole) // 2)
    assert len(done.left) < 0.7 * len(done.calls)


def test_names_of_the_file_cannot_steer_the_terminal(run: Any, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(DIGITS / "normal.onnx")
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    node.name = "\x1b[31m[bold red]injected[/] <script>"
    onnx.save(model, tmp_path / "model.onnx")
    code, out, _ = run("inspect", tmp_path / "model.onnx")
    assert code == 0
    assert "\x1b" not in out
    assert "[bold red]injected[/] <script>" in out
