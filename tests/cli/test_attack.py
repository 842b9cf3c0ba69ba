"""``specprobe attack``: what it prints and writes, and what it refuses."""

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
DIGITS = ROOT / "models" / "digits"
SCHEMA = json.loads((ROOT / "docs" / "schema" / "specprobe-1.schema.json").read_text(encoding="utf-8"))
DATA = ("attack", DIGITS / "normal.onnx", "--data", DIGITS / "test.npz")
RUN = (*DATA, "--limit", "70", "--attack", "pgd", "--epsilon", "0.05", "--steps", "5")


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
    content = document(capsys, *RUN, "--restarts", "2", "--step-size", "0.02", "--seed", "3")
    result = from_document(content)
    assert content["kind"] == "attack_outcome"
    assert result.to_dict() == content["result"]
    assert content["data"]["images_used"] == content["result"]["images"] == 70
    assert content["provenance"]["settings"]["epsilon"] == 0.05
    assert str(ROOT) not in json.dumps(content)
    library = specprobe.attack(
        specprobe.load(DIGITS / "normal.onnx"),
        specprobe.load_images(DIGITS / "test.npz"),
        attack="pgd",
        epsilon=0.05,
        steps=5,
        step_size=0.02,
        restarts=2,
        seed=3,
        limit=70,
    )
    assert library.to_dict() == content["result"]
    assert 0 < library.robust_accuracy < (library.clean_accuracy or 0)


def test_document_without_labels_is_of_predictions(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with np.load(DIGITS / "test.npz") as archive:
        np.savez(tmp_path / "images.npz", images=archive["images"][:30])
    words = ("attack", DIGITS / "normal.onnx", "--data", tmp_path / "images.npz", "--attack", "fgsm")
    content = document(capsys, *words)
    assert content["result"]["clean_accuracy"] is None
    assert content["result"]["target"] == "predicted"
    assert content["result"]["attacked"] == 30
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert "keep their prediction" in out
    assert "the images have no labels" in out


def test_table_tells_what_stands_and_where_the_energy_lies(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *RUN, "--target", "true")
    assert (code, err) == (0, "")
    for words in (
        "pgd, linf, epsilon 0.05, 5 steps",
        "clean accuracy",
        "chance",
        "robust accuracy",
        "right and stay right",
        "success",
        "median linf norm",
        "gradient  (",
        "white noise",
        "centroid (cycles/image)",
        "half of the power below",
    ):
        assert words in out
    assert "█" in out
    assert max(map(len, out.splitlines())) <= 120
    for words in ("8/255", "8 / 255", "0.03137254901960784"):
        assert "epsilon 8/255," in run(capsys, *RUN[:-4], "--epsilon", words, "--steps", "1")[1]
    assert "fgsm, linf, epsilon 8/255" in run(capsys, *DATA, "--limit", "10", "--attack", "fgsm")[1]


def test_members_of_the_standard_protocol_have_a_row_each(capsys: pytest.CaptureFixture[str]) -> None:
    words = (*DATA, "--limit", "20", "--epsilon", "0.03", "--steps", "3", "--queries", "20")
    code, out, err = run(capsys, *words)
    assert (code, err) == (0, "")
    assert "standard, linf, epsilon 0.03, 3 steps, 20 queries" in out
    lines = [line.split() for line in out.splitlines()]
    rows = [
        line
        for line in lines
        if line and line[0] in {"apgd-ce", "apgd-t", "fab-t", "square"} and len(line) == 4
    ]
    assert [row[0] for row in rows] == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert all(int(row[1]) - int(row[2]) == int(row[3]) for row in rows)
    assert [row[1] for row in rows[1:]] == [row[3] for row in rows[:-1]], "each on what those before it left"


@pytest.mark.slow
def test_files_hold_the_arrays_and_the_figure(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    names = [tmp_path / f"out{suffix}" for suffix in (".json", ".npz", ".png", ".svg")]
    code, out, _ = run(capsys, *RUN, "-q", *(word for name in names for word in ("-o", name)))
    assert (code, out) == (0, "")
    assert read_document(names[0]) == read_document(names[1])
    result = read_document(names[0])["result"]
    with np.load(names[1], allow_pickle=False) as archive:
        assert archive["digest"].shape == (70, 16)
        assert archive["robust"].mean() == result["robust_accuracy"]
        assert archive["clean_correct"].mean() == result["clean_accuracy"]
        assert archive["gradient_evaluations"].sum() == result["gradient_evaluations"]
        assert archive["adversarial"].shape == (70, 1, 16, 16)
        assert archive["example_clean"].shape == (8, 1, 16, 16)
        assert archive["perturbation_power_map"].shape == (16, 16)
    assert names[2].read_bytes().startswith(b"\x89PNG")
    assert "<svg" in names[3].read_text(encoding="utf-8")


def test_images_are_left_out_where_that_is_asked_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run(capsys, *RUN, "--no-keep-images", "-q", "-o", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as archive:
        assert "adversarial" not in archive.files


def test_a_band_is_kept_to(capsys: pytest.CaptureFixture[str]) -> None:
    content = document(capsys, *DATA, "--limit", "30", "--attack", "pgd", "--norm", "l2", "--epsilon", "1", "--band", "0:4", "--steps", "5")  # fmt: skip
    result = content["result"]
    assert (result["band"], result["threat_norm"]) == ("0:4", "l2")
    assert 0 <= result["mean_leakage"] <= result["max_leakage"] <= 0.02
    assert sum(result["perturbation"]["ring_sum_share"][4:]) < 0.02


def test_a_universal_attack_finds_its_frequency(capsys: pytest.CaptureFixture[str]) -> None:
    words = (*DATA, "--limit", "70", "--attack", "universal", "--epsilon", "0.2")
    found = document(capsys, *words, "--queries", "20")["result"]
    assert found["queries"] == 20
    f_y, f_x = found["frequency"]
    fixed = document(capsys, *words, "--frequency", f"{f_y},{f_x}")["result"]
    assert fixed["standing"] == found["standing"] < found["attacked"]
    assert found["forward_evaluations"] == 20 * found["attacked"]
    assert (fixed["queries"], fixed["frequency"]) == (None, [f_y, f_x])
    other = document(capsys, *words, "--frequency", "7,7")["result"]
    assert other["standing"] >= found["standing"]


def test_masked_gradients_are_flagged(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Rounded pixels, on a path whose gradient is zero: gradient attacks find nothing, and Square does."""
    import onnx

    model = onnx.load(DIGITS / "normal.onnx")
    name = model.graph.input[0].name
    for node in model.graph.node:
        for place, used in enumerate(node.input):
            if used == name:
                node.input[place] = "rounded"
    nothing = onnx.helper.make_tensor("nothing", onnx.TensorProto.FLOAT, [], [0.0])
    model.graph.initializer.append(nothing)
    for made in (
        onnx.helper.make_node("Add", ["steps", "slope"], ["rounded"]),
        onnx.helper.make_node("Mul", [name, "nothing"], ["slope"]),
        onnx.helper.make_node("Round", [name], ["steps"], name="hides"),
    ):
        model.graph.node.insert(0, made)
    onnx.save(model, tmp_path / "model.onnx")
    words = (
        "attack",
        tmp_path / "model.onnx",
        "--data",
        DIGITS / "test.npz",
        "--limit",
        "20",
        "--epsilon",
        "0.3",
    )
    gradient = document(capsys, *words, "--attack", "pgd", "--steps", "2")["result"]
    assert {flag["code"] for flag in gradient["flags"]} == {"vanishing-gradients", "zero-gradient"}
    assert "hides" in [flag["node"] for flag in gradient["flags"]]
    standard = document(capsys, *words, "--steps", "2", "--queries", "200")["result"]
    assert "gradient-masking" in {flag["code"] for flag in standard["flags"]}
    _, out, _ = run(capsys, *words, "--attack", "pgd", "--steps", "2")
    assert "warning: the gradient of the cross-entropy is zero or not finite at 16 of 16 images" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--epsilon", "8"),
            "more than pixels can change: they are in [0, 1]; 8 of 255 grey levels are --epsilon 8/255",
        ),
        (("--epsilon", "8/0"), "'8/0' is not a size above 0 such as 8/255 or 0.03"),
        (("--epsilon", "-1/255"), "'-1/255' is not a size above 0"),
        (("--epsilon", "nan"), "'nan' is not a size above 0"),
        (("--epsilon", "x"), "'x' is not a size above 0"),
        (("--norm", "l2"), "--epsilon has to be given for --norm l2"),
        (("--attack", "fgsm", "--steps", "3"), "fgsm takes no steps"),
        (("--attack", "square", "--step-size", "0.1"), "square takes no step_size"),
        (("--attack", "deepfool", "--restarts", "2"), "deepfool draws no random numbers"),
        (("--attack", "fab-t", "--band", "0:4"), "fab-t knows no frequencies"),
        (("--attack", "universal", "--frequency", "3"), "'3' is not a vertical and a horizontal frequency"),
        (("--attack", "pgd", "--frequency", "3,4"), "pgd takes no frequency"),
        (("--band", "4"), "band is '4'; accepted are 'low:high' in cycles per image, such as 0:8"),
    ],
)
def test_settings_out_of_range_are_usage_errors(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    code, out, err = run(capsys, *DATA, *words)
    assert (code, out) == (2, "")
    assert message in " ".join(err.replace("│", " ").split())


def test_frequencies_off_the_grid_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, *DATA, "--attack", "universal", "--frequency", "9,0")
    assert code in {2, 4}
    assert "9" in err


def test_data_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "attack", DIGITS / "normal.onnx")
    assert code == 2
    assert "attack needs images to perturb: --data SRC" in err


def test_choices_are_those_of_the_library() -> None:
    from specprobe_cli.attack import ATTACKS

    from specprobe.attacks.catalogue import ATTACKS as LIBRARY

    assert ATTACKS == LIBRARY


@pytest.mark.parametrize("words", [RUN[4:], ("--limit", "70", "--attack", "universal", "--queries", "6")])
def test_interrupted_run_resumes_to_the_same_document(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
) -> None:
    from specprobe.runtime.network import Network

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    whole = document(capsys, *DATA, *words)
    logits, calls = Network.logits, []

    def interrupted(self: Network, images: Any) -> Any:
        calls.append(len(images))
        if len(calls) == interrupted_at[0]:
            raise KeyboardInterrupt
        return logits(self, images)

    interrupted_at = [0]
    monkeypatch.setattr(Network, "logits", interrupted)
    assert document(capsys, *DATA, *words)["result"] == whole["result"]
    total = len(calls)
    calls.clear()
    interrupted_at[0] = total - 1  # in the second shard
    code, out, err = run(capsys, *DATA, *words)
    assert (code, out) == (130, "")
    assert "--resume" in err
    calls.clear()
    interrupted_at[0] = 0
    assert document(capsys, *DATA, *words, "--resume")["result"] == whole["result"]
    assert len(calls) < total
