"""``specprobe mask``: what it prints and writes, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import specprobe_cli

import specprobe
from specprobe.results import from_document, read_document, read_results

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "models" / "digits"
SCHEMA = json.loads((ROOT / "docs" / "schema" / "specprobe-1.schema.json").read_text(encoding="utf-8"))
DATA = ("--data", DIGITS / "test.npz", "--limit", "30")
RUN = ("mask", DIGITS / "normal.onnx", *DATA, "--max-epochs", "4")


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


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
    words = ("--sparsity-weight", "0.1", "--agreement", "0.9", "--per-channel", "--seed", "3")
    content = document(capsys, *RUN, *words)
    result = from_document(content)
    assert content["kind"] == "fourier_mask"
    assert result.to_dict() == content["result"]
    assert content["data"]["images_used"] == content["result"]["images"] == 30
    assert content["provenance"]["settings"]["preset"] == "default"
    assert str(ROOT) not in json.dumps(content)
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
def test_every_kind_of_mask_has_a_valid_document(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    content = document(capsys, *RUN, "--limit", "6", *words)
    assert from_document(content).to_dict() == content["result"]
    settings = content["result"]["settings"]
    assert settings["preset"] == ("karantzas" if "karantzas" in words else "default")
    assert settings["target"] == ("true" if "karantzas" in words else "predicted")
    assert (content["result"]["density_interval"] is not None) == ("--per-image" in words)


def test_table_shows_energy_accuracies_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *RUN)
    assert (code, err) == (0, "")
    for words in (
        *("cycles/image", "energy", "mask of ones", "accuracy", "under the mask", "under its complement"),
        *("agreement, held-out images", "density", "preset default", "96 gradients", "4 epochs", "Chance"),
    ):
        assert words in " ".join(out.split()), words
    assert max(map(len, out.splitlines())) <= 120
    longer = run(capsys, *RUN, "-v")[1]
    assert len(longer.splitlines()) > len(out.splitlines())


@pytest.mark.slow
def test_files_hold_the_mask_and_the_figure(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    names = [tmp_path / f"out{suffix}" for suffix in (".json", ".npz", ".png", ".svg", ".html")]
    code, out, _ = run(capsys, *RUN, "-q", *(word for name in names for word in ("-o", name)))
    assert (code, out) == (0, "")
    assert read_document(names[0]) == read_document(names[1])
    with np.load(names[1], allow_pickle=False) as archive:
        assert archive["mask"].shape == (16, 16)
        assert archive["digest"].shape == (30, 16)
        assert archive["masked_correct"].mean() == read_document(names[0])["result"]["masked_accuracy"]
    [(_, result)] = read_results(names[1])
    assert result.mask is not None
    assert names[2].read_bytes().startswith(b"\x89PNG")
    assert "<svg" in names[3].read_text(encoding="utf-8")
    assert "normal.onnx" in names[4].read_text(encoding="utf-8")


@pytest.mark.slow
def test_two_models_give_both_masks_and_their_difference(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = (*RUN, "--limit", "12", "--against", DIGITS / "robust.onnx")
    content = document(capsys, *words, "-o", tmp_path / "pair.png", "-o", tmp_path / "pair.html")
    kinds = [part["kind"] for part in content["documents"]]
    assert kinds == ["fourier_mask", "fourier_mask", "mask_difference"]
    first, second, difference = (part["result"] for part in content["documents"])
    assert difference["density"] == pytest.approx([first["density"], second["density"]])
    assert [part["model"]["file"] for part in content["documents"][:2]] == ["normal.onnx", "robust.onnx"]
    assert content["documents"][2]["provenance"]["settings"]["against"]["file"] == "robust.onnx"
    assert (tmp_path / "pair.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = run(capsys, *words, "--per-image")
    assert code == 0
    assert "first less second" in out
    assert "centroid (cycles/image)" in out
    code, _, err = run(capsys, *words, "-o", tmp_path / "pair.npz")
    assert code == 2
    assert "an .npz file holds one mask" in err


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
def test_options_out_of_range_are_usage_errors(
    capsys: pytest.CaptureFixture[str], words: tuple[str, str], message: str
) -> None:
    code, out, err = run(capsys, "mask", DIGITS / "normal.onnx", *DATA, *words)
    assert (code, out) == (2, "")
    assert message in " ".join(err.replace("│", " ").split())


def test_data_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "mask", DIGITS / "normal.onnx")
    assert code == 2
    assert "a mask is learned on images: give them with --data SRC" in err


def test_progress_tells_density_and_what_is_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import contextmanager

    from specprobe_cli import options

    told: list[tuple[str, int, int]] = []

    @contextmanager
    def bar(*, quiet: bool) -> Any:
        yield lambda *words: told.append(words)

    monkeypatch.setattr(options, "task_progress", bar)
    assert run(capsys, *RUN)[0] == 0
    assert told[0][0].startswith("normal.onnx: density ")
    assert ", keeps " in told[-1][0]
    assert told[-1][1] == told[-1][2]


@pytest.mark.slow
def test_interrupted_run_resumes_to_the_same_document(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from specprobe.runtime.network import Network

    whole = document(capsys, *RUN)
    run_once, calls = Network.logits_and_gradient, []

    def interrupted(self: Network, images: Any, labels: Any, /, **options: Any) -> Any:
        calls.append(len(images))
        if len(calls) == 60:
            raise KeyboardInterrupt
        return run_once(self, images, labels, **options)

    monkeypatch.setattr(Network, "logits_and_gradient", interrupted)
    code, out, err = run(capsys, *RUN)
    assert (code, out) == (130, "")
    assert "--resume" in err
    calls.extend([0] * 100)
    resumed = document(capsys, *RUN, "--resume")
    assert resumed["result"] == whole["result"]
    assert len(calls) - 160 == whole["result"]["gradient_evaluations"] - 59
