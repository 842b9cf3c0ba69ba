"""Options of all commands that read pictures: how these are brought to the model's size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

MODEL = Path(__file__).resolve().parents[2] / "models" / "digits" / "normal.onnx"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two pictures of different sizes."""
    random, folder = np.random.default_rng(0), tmp_path / "pictures"
    folder.mkdir()
    for i, shape in enumerate([(20, 30), (40, 24)]):
        Image.fromarray(random.integers(0, 256, shape, np.uint8)).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize(
    ("words", "resize"),
    [
        (("--resize", "20", "--crop", "16"), 20),
        (("--resize", "16,16"), [16, 16]),
        (("--crop", "16x16"), None),
    ],
)
def test_pictures_are_resized_and_cropped(
    pictures: Path, document: Callable[..., dict[str, Any]], words: tuple[str, ...], resize: Any
) -> None:
    made = document("bands", MODEL, "--data", pictures, "--radii", "2", *words)
    geometry = made["model"]["preprocessing"]["geometry"]
    assert geometry["resize"] == resize
    assert geometry["crop"] == (None if len(words) == 2 and "--resize" in words else [16, 16])
    assert made["result"]["images"] == 2


def test_an_option_overrides_the_recipe_and_leaves_the_rest(
    tmp_path: Path, pictures: Path, document: Callable[..., dict[str, Any]]
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[preprocess]\nresize = 18\nedge = "longest"\ninterpolation = "bicubic"\ncrop = [16, 16]\n'
    )
    made = document(
        "bands", MODEL, "--data", pictures, "--radii", "2", "--preprocess", recipe, "--resize", "20"
    )
    geometry = made["model"]["preprocessing"]["geometry"]
    assert (geometry["resize"], geometry["edge"]) == (20, "shortest")
    assert (geometry["interpolation"], geometry["crop"]) == ("bicubic", [16, 16])


def test_without_them_pictures_of_several_sizes_are_refused(
    pictures: Path, refusal: Callable[..., Any]
) -> None:
    assert "pictures differ in size" in str(
        refusal("bands", MODEL, "--data", pictures, "--radii", "2", code=4)
    )


def test_pictures_that_the_table_of_labels_does_not_name_are_told(
    tmp_path: Path, pictures: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    table, words = tmp_path / "labels.csv", ("--radii", "2", "--resize", "16,16")
    for named, told in (("0.png,3\n", True), ("0.png,3\n1.png,4\n", False)):
        table.write_text(named)
        code, out, err = run("bands", MODEL, "--data", pictures, "--labels", table, *words)
        assert code == 0, err
        message = "1 pictures are left out: the table of labels does not name them"
        assert (message in " ".join(out.split())) == told


@pytest.mark.parametrize("words", [("--resize", "0"), ("--crop", "1,2,3"), ("--resize", "big")])
def test_what_is_no_size_is_refused(
    pictures: Path, run: Callable[..., tuple[int, str, str]], words: tuple[str, str]
) -> None:
    code, _, err = run("bands", MODEL, "--data", pictures, *words)
    assert code == 2
    assert "is not a size such as 224 or 224,320" in err
