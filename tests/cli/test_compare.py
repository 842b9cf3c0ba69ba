"""``specprobe compare``: what it prints and writes, and what it refuses."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from rich.console import Console

import specprobe
from specprobe.results import from_document, read_document

MODELS = Path(__file__).resolve().parents[2] / "models"
DIGITS, BANDS = MODELS / "digits", MODELS / "bands"
PAIR = ("compare", DIGITS / "normal.onnx", DIGITS / "robust.onnx")
RUN = (*PAIR, "--data", DIGITS / "test.npz", "--limit", "70")


def metric(content: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(part for part in content["result"]["metrics"] if part["name"] == name)
    return found


@pytest.mark.slow
def test_document_is_valid_reads_back_and_is_what_the_library_gives(document: Any) -> None:
    content = document(*RUN, "--seed", "2")
    result = from_document(content)
    assert content["kind"] == "comparison"
    assert result.to_dict() == content["result"]
    assert content["data"]["images_used"] == content["result"]["images"] == 70
    assert list(content["model"]) == content["result"]["models"] == ["normal.onnx", "robust.onnx"]
    assert content["model"]["robust.onnx"]["classes"] == 10
    assert content["provenance"]["settings"]["resamples"] == 9999
    library = specprobe.compare(
        [specprobe.load(DIGITS / "normal.onnx"), specprobe.load(DIGITS / "robust.onnx")],
        specprobe.load_images(DIGITS / "test.npz"),
        limit=70,
        seed=2,
    )
    assert library.to_dict() == content["result"]


def test_document_without_data_is_valid(document: Any) -> None:
    content = document(*PAIR, BANDS / "low.onnx")
    assert content["data"] is None
    assert content["result"]["images"] is None
    assert from_document(content).to_dict() == content["result"]
    assert metric(content, "filters.variance_entropy")["values"][2] is None


def test_document_without_labels_is_valid(document: Any, unlabelled: Any) -> None:
    content = document(*PAIR, "--data", unlabelled(DIGITS / "test.npz", 40), "--skip", "sensitivity")
    assert [finding["code"] for finding in content["result"]["findings"]] == ["no-labels"]
    assert {part["name"].split(".")[0] for part in content["result"]["metrics"]} == {
        *("agreement_with_first", "bands", "filters", "model")
    }


def test_table_shows_values_differences_and_marks(run: Any) -> None:
    code, out, err = run(*RUN)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    for words in ("Accuracy", "Sensitivity", "Bands", "Filters", "Model", "normal.onnx", "robust.onnx"):
        assert words in out
    (high,) = (line for line in lines if line.startswith(" share of high frequencies"))
    assert high.rstrip().endswith("*")
    assert high.count("[") == 3
    assert "+0." in high
    (accuracy,) = (line for line in lines if line.startswith(" accuracy"))
    assert not accuracy.rstrip().endswith("*")
    assert "* adjusted p < 0.05" in " ".join(out.split())
    assert "more metrics with -v" in " ".join(out.split())
    assert [line.split(",")[0] for line in lines if line.startswith(" low-pass")] == [
        f" low-pass {radius}" for radius in (1, 2, 4, 8)
    ]
    assert not [line for line in lines if "agreement" in line and "pass" in line]
    assert max(map(len, lines)) <= 120


def test_every_band_is_shown_when_asked_for(run: Any) -> None:
    _, out, _ = run(*RUN, "-v")
    for section in ("low-pass", "high-pass"):
        for what in ("accuracy", "agreement"):
            lines = [x for x in out.splitlines() if x.startswith(f" {section}") and what in x]
            assert len(lines) == 11, (section, what)
    assert "more metrics" not in out


@pytest.mark.parametrize("width", [50, 80, 100, 160])
@pytest.mark.parametrize("models", [2, 7])
def test_tables_stay_within_the_console(
    shown: Any, monkeypatch: pytest.MonkeyPatch, width: int, models: int
) -> None:
    import specprobe_cli.compare_table
    import specprobe_cli.output

    for module in (specprobe_cli.compare_table, specprobe_cli.output):
        monkeypatch.setattr(module, "console", lambda: Console(width=width, highlight=False))
    images = specprobe.load_images(DIGITS / "test.npz", limit=33)
    network = specprobe.load(DIGITS / "normal.onnx")
    names = [f"a model with a long name, number {i}" for i in range(models)]
    result = specprobe.compare([network] * models, images, names=names, analyses=["accuracy"])
    content = specprobe.results.document(result, data={})
    table = specprobe_cli.compare_table.comparison_tables(content, everything=False)
    lines = shown(table).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    (end,) = (i for i, line in enumerate(lines) if line.startswith("Signed numbers"))
    heads = [line for line in lines[:end] if "number" in line]
    assert all("number 0" in head for head in heads), "the first model stands in every table"
    assert [sum(f"number {i}" in head for head in heads) for i in range(1, models)] == [1] * (models - 1)


def test_names_are_text_and_not_markup(run: Any) -> None:
    code, out, _ = run(*PAIR, "--name", "[red]a[/]", "--name", "b")
    assert code == 0
    assert "[red]a[/]" in out


@pytest.mark.slow
def test_files_hold_the_arrays_and_the_figure(files: Any) -> None:
    written = files(*RUN)
    with np.load(written[".npz"], allow_pickle=False) as archive:
        assert archive["digest"].shape == (70, 16)
        assert archive["power_map"].shape == (2, 16, 16)
        assert archive["prediction"].shape == (70, 2)
        agreement = (archive["prediction"][:, 0] == archive["prediction"][:, 1]).mean()
    assert metric(read_document(written[".json"]), "agreement_with_first")["values"][1] == agreement
    assert "robust.onnx − normal.onnx" in written[".html"].read_text(encoding="utf-8")


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    """A model that takes pixels up to 255, and recipes."""
    model = onnx.load(DIGITS / "normal.onnx")
    name = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = ["scaled" if x == name else x for x in node.input]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(255, np.float32), "full"))
    model.graph.node.insert(0, onnx.helper.make_node("Div", [name, "full"], ["scaled"]))
    onnx.save(model, tmp_path / "bytes.onnx")
    (tmp_path / "255.toml").write_text("range = 255\n")
    (tmp_path / "1.toml").write_text("range = 1\n")
    (tmp_path / "crop.toml").write_text("resize = 20\ncrop = [16, 16]\n")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    "called", ["bytes.onnx", "second", "path"], ids=["by its file", "by its name", "by its path"]
)
def test_one_model_may_have_a_recipe_of_its_own(document: Any, recipes: Path, called: str) -> None:
    other = recipes / "bytes.onnx"
    called = str(other) if called == "path" else called
    words: list[str | Path] = ["compare", DIGITS / "normal.onnx", other, "--data", DIGITS / "test.npz"]
    words += ["--limit", "40", "--skip", "bands", "--name", "first", "--name", "second"]
    words += ["--preprocess", recipes / "1.toml", "--preprocess", f"{called}={recipes / '255.toml'}"]
    content = document(*words)
    assert content["model"]["second"]["preprocessing"]["range"] == [0, 255]
    assert content["model"]["first"]["preprocessing"]["range"] == [0, 1]
    assert metric(content, "agreement_with_first")["values"] == [1, 1]
    assert "preprocessing-differs" in {finding["code"] for finding in content["result"]["findings"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--name", "a"), "--name was given as a for 2 models; accepted is one for each"),
        (("--name", "a", "--name", "a"), "accepted is one for each, all different"),
        (("--preprocess", "x=y.toml"), "no model is called 'x'; the models are normal.onnx, robust.onnx"),
        (("--preprocess", "a.toml", "--preprocess", "b.toml"), "all models have a.toml already"),
        (
            ("--preprocess", "normal.onnx=a.toml", "--preprocess", "normal.onnx=b.toml"),
            "normal.onnx has a recipe already, a.toml",
        ),
        (("-o", "x.csv"), "the suffix '.csv' is not known"),
    ],
)
def test_options_that_do_not_fit_are_usage_errors(refusal: Any, words: tuple[str, ...], message: str) -> None:
    assert message in refusal(*RUN, *words)


def test_a_name_of_two_files_is_no_model(refusal: Any, document: Any, tmp_path: Path) -> None:
    shutil.copy(DIGITS / "robust.onnx", tmp_path / "normal.onnx")
    words: tuple[str | Path, ...] = ("compare", DIGITS / "normal.onnx", tmp_path / "normal.onnx")
    content = document(*words)
    assert content["result"]["models"] == ["normal.onnx", "normal.onnx (2)"]
    given = ("--name", "a", "--name", "b", "--preprocess", "normal.onnx=a.toml")
    assert "several models are called so" in refusal(*words, *given)


def test_one_model_is_a_usage_error(refusal: Any) -> None:
    assert "1 model was given; accepted are two or more" in refusal("compare", DIGITS / "normal.onnx")


def test_models_that_do_not_fit_each_other_are_refused(refusal: Any, run: Any, recipes: Path) -> None:
    data = ("--data", DIGITS / "test.npz")
    err = refusal("compare", DIGITS / "normal.onnx", BANDS / "low.onnx", *data, code=4)
    assert "the models differ in classes: 10 for normal.onnx, 4 for low.onnx" in err
    with np.load(DIGITS / "test.npz") as archive:
        for i, (image, label) in enumerate(
            zip(archive["images"][:60, ..., 0], archive["labels"], strict=False)
        ):
            (recipes / "pictures" / str(label)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(recipes / "pictures" / str(label) / f"{i}.png")
    words = (*PAIR, "--data", recipes / "pictures")
    assert run(*words, "--skip", "bands", "--skip", "sensitivity")[0] == 0
    err = refusal(*words, "--preprocess", f"robust.onnx={recipes / 'crop.toml'}", code=4)
    assert "the recipe of robust.onnx makes other images of the data than that of normal.onnx" in err


@pytest.mark.slow
def test_interrupted_run_resumes_to_the_same_document(resumed: Any) -> None:
    def in_second_model(made: Any, _: Any) -> bool:
        return [call.model for call in made].count("robust.onnx") == 3

    done = resumed(*RUN, stop=in_second_model, method="logits_and_gradient")
    assert {call.model for call in done.calls} == {"normal.onnx", "robust.onnx"}
    assert {call.model for call in done.left} == {"robust.onnx"}
