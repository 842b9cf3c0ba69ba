"""``specprobe mask``: what it prints and writes, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specprobe
from specprobe.results import from_document, read_document, read_results

DIGITS = Path(__file__).resolve().parents[2] / "models" / "digits"
DATA = ("--data", DIGITS / "test.npz", "--limit", "30")
RUN = ("mask", DIGITS / "normal.onnx", *DATA, "--max-epochs", "4")


def test_document_is_valid_reads_back_and_is_what_the_library_gives(document: Any) -> None:
    words = ("--sparsity-weight", "0.1", "--agreement", "0.9", "--per-channel", "--seed", "3")
    content = document(*RUN, *words)
    result = from_document(content)
    assert content["kind"] == "fourier_mask"
    assert result.to_dict() == content["result"]
    assert content["data"]["images_used"] == content["result"]["images"] == 30
    assert content["provenance"]["settings"]["preset"] == "default"
    library = specprobe.fourier_mask(
        specprobe.load(DIGITS / "normal.onnx"),
        specprobe.load_images(DIGITS / "test.npz"),
        sparsity_weight=0.1,
        agreement=0.9,
        per_channel=True,
        seed=3,
        max_epochs=4,
        limit=30,
    )
    assert library.to_dict() == content["result"]


@pytest.mark.parametrize("words", [("--preset", "karantzas"), ("--per-image",), ("--target", "predicted")])
def test_every_kind_of_mask_has_a_valid_document(document: Any, words: tuple[str, ...]) -> None:
    content = document(*RUN, "--limit", "6", *words)
    assert from_document(content).to_dict() == content["result"]
    settings = content["result"]["settings"]
    assert settings["preset"] == ("karantzas" if "karantzas" in words else "default")
    assert settings["target"] == ("true" if "karantzas" in words else "predicted")
    assert (content["result"]["density_interval"] is not None) == ("--per-image" in words)


def test_table_shows_energy_accuracies_and_cost(run: Any) -> None:
    code, out, err = run(*RUN)
    assert (code, err) == (0, "")
    for words in (
        *("cycles/image", "energy", "mask of ones", "accuracy", "under the mask", "under its complement"),
        *("agreement, held-out images", "density", "preset default", "96 gradients", "4 epochs", "Chance"),
    ):
        assert words in " ".join(out.split()), words
    assert max(map(len, out.splitlines())) <= 120
    longer = run(*RUN, "-v")[1]
    assert len(longer.splitlines()) > len(out.splitlines())


@pytest.mark.slow
def test_files_hold_the_mask_and_the_figure(files: Any) -> None:
    written = files(*RUN)
    content = read_document(written[".json"])
    with np.load(written[".npz"], allow_pickle=False) as archive:
        assert archive["mask"].shape == (16, 16)
        assert archive["digest"].shape == (30, 16)
        assert archive["masked_correct"].mean() == content["result"]["masked_accuracy"]
    [(_, result)] = read_results(written[".npz"])
    assert result.mask is not None
    assert "normal.onnx" in written[".html"].read_text(encoding="utf-8")


@pytest.mark.slow
def test_two_models_give_both_masks_and_their_difference(
    refusal: Any, run: Any, document: Any, tmp_path: Path
) -> None:
    words = (*RUN, "--limit", "12", "--against", DIGITS / "robust.onnx")
    content = document(*words, "-o", tmp_path / "pair.png", "-o", tmp_path / "pair.html")
    kinds = [part["kind"] for part in content["documents"]]
    assert kinds == ["fourier_mask", "fourier_mask", "mask_difference"]
    first, second, difference = (part["result"] for part in content["documents"])
    assert difference["density"] == pytest.approx([first["density"], second["density"]])
    assert [part["model"]["file"] for part in content["documents"][:2]] == ["normal.onnx", "robust.onnx"]
    assert content["documents"][2]["provenance"]["settings"]["against"]["file"] == "robust.onnx"
    assert (tmp_path / "pair.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = run(*words, "--per-image")
    assert code == 0
    assert "first less second" in out
    assert "centroid (cycles/image)" in out
    assert "an .npz file holds one mask" in refusal(*words, "-o", tmp_path / "pair.npz")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--preset", "ours"), "'ours' is not one of"),
        (("--sparsity-weight", "0"), "0.0 is not in the range x>0"),
        (("--max-epochs", "0"), "0 is not in the range x>=1"),
        (("--agreement", "1.5"), "1.5 is not in the range 0<=x<=1"),
        (
            ("--dask", "tcp://nowhere:1"),
            "a mask is learned step after step, in one process: mask has no --dask",
        ),
    ],
)
def test_options_out_of_range_are_usage_errors(refusal: Any, words: tuple[str, str], message: str) -> None:
    assert message in refusal("mask", DIGITS / "normal.onnx", *DATA, *words)


def test_data_are_asked_for(refusal: Any) -> None:
    assert "a mask is learned on images: give them with --data SRC" in refusal("mask", DIGITS / "normal.onnx")


def test_progress_tells_density_and_what_is_kept(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import contextmanager

    from specprobe_cli import options

    told: list[tuple[str, int, int]] = []

    @contextmanager
    def bar(*, quiet: bool) -> Any:
        yield lambda *words: told.append(words)

    monkeypatch.setattr(options, "task_progress", bar)
    assert run(*RUN)[0] == 0
    assert told[0][0].startswith("normal.onnx: density ")
    assert ", keeps " in told[-1][0]
    assert told[-1][1] == told[-1][2]


@pytest.mark.slow
def test_interrupted_run_resumes_to_the_same_document(resumed: Any) -> None:
    done = resumed(*RUN, stop=lambda made, _: len(made) == 60, method="logits_and_gradient")
    assert len(done.left) == done.document["result"]["gradient_evaluations"] - 59
