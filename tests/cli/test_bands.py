"""``specprobe bands``: what it prints and writes, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specprobe
from specprobe.results import from_document, read_document

BANDS = Path(__file__).resolve().parents[2] / "models" / "bands"
RUN = ("bands", BANDS / "mid.onnx", "--data", BANDS / "mid.npz", "--limit", "70", "--radii", "3,8,12")


def test_document_is_valid_reads_back_and_is_what_the_library_gives(document: Any) -> None:
    options = ("--bands", "7:9,13:", "--wedges", "-22.5:22.5", "--clip", "--restore-mean")
    content = document(*RUN, *options)
    result = from_document(content)
    assert content["kind"] == "band_accuracy"
    assert result.to_dict() == content["result"]
    assert content["data"]["images_used"] == content["result"]["images"] == 70
    assert content["provenance"]["settings"]["radii"] == [3, 8, 12]
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


def test_document_without_labels_is_valid(run: Any, document: Any, unlabelled: Any) -> None:
    words = ("bands", BANDS / "mid.onnx", "--data", unlabelled(BANDS / "mid.npz", 30))
    content = document(*words)
    assert content["result"]["clean_accuracy"] is None
    assert from_document(content).to_dict() == content["result"]
    code, out, _ = run(*words)
    assert code == 0
    assert "the images have no labels" in out


def test_table_shows_curves_reference_and_radius(run: Any) -> None:
    code, out, err = run(*RUN, "--bands", "7:9", "--wedges", "0:45", "-v")
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


def test_files_hold_the_arrays_and_the_figure(files: Any) -> None:
    written = files(*RUN)
    result = read_document(written[".json"])["result"]
    with np.load(written[".npz"], allow_pickle=False) as archive:
        assert archive["digest"].shape == (70, 16)
        assert archive["clean_correct"].mean() == result["clean_accuracy"]
        assert archive["low_pass_correct"].mean(axis=0).tolist() == [
            entry["accuracy"] for entry in result["low_pass"]
        ]


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
def test_filters_out_of_range_are_usage_errors(refusal: Any, words: tuple[str, str], message: str) -> None:
    assert message in refusal("bands", BANDS / "mid.onnx", "--data", BANDS / "mid.npz", *words)


def test_data_are_asked_for(refusal: Any) -> None:
    assert "bands needs images to filter: --data SRC" in refusal("bands", BANDS / "mid.onnx")


def test_interrupted_run_resumes_to_the_same_document(resumed: Any) -> None:
    done = resumed(*RUN, stop=lambda made, _: len(made) == 16)  # in the second shard
    assert len(done.left) == 2, "only the six images of the second shard, under seven filters"
