"""``specprobe attack``: what it prints and writes, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specprobe
from specprobe.results import from_document, read_document

DIGITS = Path(__file__).resolve().parents[2] / "models" / "digits"
DATA = ("attack", DIGITS / "normal.onnx", "--data", DIGITS / "test.npz")
RUN = (*DATA, "--limit", "70", "--attack", "pgd", "--epsilon", "0.05", "--steps", "5")


def test_document_is_valid_reads_back_and_is_what_the_library_gives(document: Any) -> None:
    content = document(*RUN, "--restarts", "2", "--step-size", "0.02", "--seed", "3")
    result = from_document(content)
    assert content["kind"] == "attack_outcome"
    assert result.to_dict() == content["result"]
    assert content["data"]["images_used"] == content["result"]["images"] == 70
    assert content["provenance"]["settings"]["epsilon"] == 0.05
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


def test_document_without_labels_is_of_predictions(run: Any, document: Any, unlabelled: Any) -> None:
    data = unlabelled(DIGITS / "test.npz", 30)
    words = ("attack", DIGITS / "normal.onnx", "--data", data, "--attack", "fgsm")
    content = document(*words)
    assert content["result"]["clean_accuracy"] is None
    assert content["result"]["target"] == "predicted"
    assert content["result"]["attacked"] == 30
    code, out, _ = run(*words)
    assert code == 0
    assert "keep their prediction" in out
    assert "the images have no labels" in out


def test_table_tells_what_stands_and_where_the_energy_lies(run: Any) -> None:
    code, out, err = run(*RUN, "--target", "true")
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
        assert "epsilon 8/255," in run(*RUN[:-4], "--epsilon", words, "--steps", "1")[1]
    assert "fgsm, linf, epsilon 8/255" in run(*DATA, "--limit", "10", "--attack", "fgsm")[1]


def test_members_of_the_standard_protocol_have_a_row_each(run: Any) -> None:
    words = (*DATA, "--limit", "20", "--epsilon", "0.03", "--steps", "3", "--queries", "20")
    code, out, err = run(*words)
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
def test_files_hold_the_arrays_and_the_figure(files: Any) -> None:
    written = files(*RUN)
    result = read_document(written[".json"])["result"]
    with np.load(written[".npz"], allow_pickle=False) as archive:
        assert archive["digest"].shape == (70, 16)
        assert archive["robust"].mean() == result["robust_accuracy"]
        assert archive["clean_correct"].mean() == result["clean_accuracy"]
        assert archive["gradient_evaluations"].sum() == result["gradient_evaluations"]
        assert archive["adversarial"].shape == (70, 1, 16, 16)
        assert archive["example_clean"].shape == (8, 1, 16, 16)
        assert archive["perturbation_power_map"].shape == (16, 16)


def test_images_are_left_out_where_that_is_asked_for(run: Any, tmp_path: Path) -> None:
    run(*RUN, "--no-keep-images", "-q", "-o", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as archive:
        assert "adversarial" not in archive.files


def test_a_band_is_kept_to(document: Any) -> None:
    content = document(*DATA, "--limit", "30", "--attack", "pgd", "--norm", "l2", "--epsilon", "1", "--band", "0:4", "--steps", "5")  # fmt: skip
    result = content["result"]
    assert (result["band"], result["threat_norm"]) == ("0:4", "l2")
    assert 0 <= result["mean_leakage"] <= result["max_leakage"] <= 0.02
    assert sum(result["perturbation"]["ring_sum_share"][4:]) < 0.02


def test_a_universal_attack_finds_its_frequency(document: Any) -> None:
    words = (*DATA, "--limit", "70", "--attack", "universal", "--epsilon", "0.2")
    found = document(*words, "--queries", "20")["result"]
    assert found["queries"] == 20
    f_y, f_x = found["frequency"]
    fixed = document(*words, "--frequency", f"{f_y},{f_x}")["result"]
    assert fixed["standing"] == found["standing"] < found["attacked"]
    assert found["forward_evaluations"] == 20 * found["attacked"]
    assert (fixed["queries"], fixed["frequency"]) == (None, [f_y, f_x])
    other = document(*words, "--frequency", "7,7")["result"]
    assert other["standing"] >= found["standing"]


def test_masked_gradients_are_flagged(run: Any, document: Any, tmp_path: Path) -> None:
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
    words = ("attack", tmp_path / "model.onnx", *DATA[2:], "--limit", "20", "--epsilon", "0.3")
    gradient = document(*words, "--attack", "pgd", "--steps", "2")["result"]
    assert {flag["code"] for flag in gradient["flags"]} == {"vanishing-gradients", "zero-gradient"}
    assert "hides" in [flag["node"] for flag in gradient["flags"]]
    standard = document(*words, "--steps", "2", "--queries", "200")["result"]
    assert "gradient-masking" in {flag["code"] for flag in standard["flags"]}
    _, out, _ = run(*words, "--attack", "pgd", "--steps", "2")
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
def test_settings_out_of_range_are_usage_errors(refusal: Any, words: tuple[str, ...], message: str) -> None:
    assert message in refusal(*DATA, *words)


def test_frequencies_off_the_grid_are_refused(run: Any) -> None:
    code, _, err = run(*DATA, "--attack", "universal", "--frequency", "9,0")
    assert code in {2, 4}
    assert "9" in err


def test_data_are_asked_for(refusal: Any) -> None:
    assert "attack needs images to perturb: --data SRC" in refusal("attack", DIGITS / "normal.onnx")


def test_choices_are_those_of_the_library() -> None:
    from specprobe_cli.attack import ATTACKS

    from specprobe.attacks.catalogue import ATTACKS as LIBRARY

    assert ATTACKS == LIBRARY


@pytest.mark.parametrize("words", [RUN[4:], ("--limit", "70", "--attack", "universal", "--queries", "6")])
def test_interrupted_run_resumes_to_the_same_document(resumed: Any, words: tuple[str, ...]) -> None:
    done = resumed(*DATA, *words, stop=lambda made, whole: len(made) == len(whole) - 1)  # in the second shard
    assert len(done.left) < len(done.calls)
