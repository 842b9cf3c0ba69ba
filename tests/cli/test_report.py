"""``specprobe report`` and ``-o FILE.html``: results on one page."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specprobe
from specprobe.errors import DataError
from specprobe.results import read_results

MODELS = Path(specprobe.__file__).parent.parent / "models"
BANDS = (MODELS / "bands" / "mid.onnx", "--data", MODELS / "bands" / "mid.npz", "--limit", "12")


@pytest.mark.parametrize("command", ["sensitivity", "bands", "inspect"])
def test_a_command_writes_a_page(run: Any, tmp_path: Path, command: str) -> None:
    path = tmp_path / "page.html"
    assert run(command, *BANDS, "-q", "-o", path) == (0, "", "")
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "mid.onnx" in text
    assert text.count("<figure>") == 1


def test_filters_of_several_models_share_a_page(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    models = (MODELS / "bands" / "mid.onnx", MODELS / "digits" / "normal.onnx")
    assert run("filters", *models, "-q", "-o", path)[0] == 0
    assert path.read_text(encoding="utf-8").count("<figure>") == 2


def test_a_report_holds_the_results_of_its_files(run: Any, tmp_path: Path) -> None:
    files = [tmp_path / "one.npz", tmp_path / "two.json", tmp_path / "three.json"]
    run("sensitivity", *BANDS, "-q", "-o", files[0])
    run("bands", *BANDS, "-q", "-o", files[1])
    run("filters", BANDS[0], BANDS[0], "-q", "-o", files[2])
    path = tmp_path / "page.html"
    code, out, _ = run("report", *files, "-o", path, "--title", "All <of> it")
    assert (code, out.split(":")[0]) == (0, "wrote page.html")
    assert "4 results" in out
    text = path.read_text(encoding="utf-8")
    assert "<h1>All &lt;of&gt; it</h1>" in text
    assert text.count("<figure>") == 4
    again = tmp_path / "again.html"
    run("report", *files, "-o", again, "--title", "All <of> it", "-q")
    assert again.read_bytes() == path.read_bytes()


def test_arrays_of_an_npz_come_back_with_its_result(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "one.npz"
    run("sensitivity", *BANDS, "-q", "-o", path)
    ((content, result),) = read_results(path)
    assert content["kind"] == result.kind == "fourier_sensitivity"
    with np.load(path) as archive:
        assert np.array_equal(result.power_map, archive["power_map"])
        assert np.array_equal(result.image_low_share, archive["low_share"])
        assert np.array_equal(result.image_digest, archive["digest"])
    expected = specprobe.fourier_sensitivity(
        specprobe.load(BANDS[0]), specprobe.load_images(MODELS / "bands" / "mid.npz", limit=12)
    )
    assert expected.power_map is not None
    assert np.array_equal(result.power_map, expected.power_map)


def test_what_cannot_be_reported_is_said(refusal: Any, run: Any, tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text("{}", encoding="utf-8")
    err = refusal("report", path, "-o", tmp_path / "page.html", code=4)
    assert "this is not a specprobe result (schema None)" in err
    assert not (tmp_path / "page.html").exists()
    err = refusal("report", path, "-o", tmp_path / "page.pdf")
    assert "the suffix '.pdf' is not known; accepted is .html" in err
    assert "there is no folder" in refusal("report", path, "-o", tmp_path / "none" / "page.html")
    assert run("report", "-o", tmp_path / "page.html")[0] == 2
    with pytest.raises(DataError, match="is not a specprobe result"):
        read_results(tmp_path / "missing.json")
