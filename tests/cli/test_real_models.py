"""The command line on models made by others: listed accuracies with one set of options each, and files that are odd."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from specprobe.testing.light import he_initialised, light_models

ROOM = 4 << 30
"""Bytes of address space beyond which a process that only looks at a file has no business."""


def recipe_options(entry: dict[str, Any]) -> list[str]:
    """One set of options, read off the list of models; no model has its own."""
    layout = ["--layout", "flat"] if len(entry["input_shape"]) == 3 else ["--layout", entry["layout"]]
    return ["--mean", _list(entry["mean"]), "--std", _list(entry["std"]), *layout]


def _list(numbers: list[float]) -> str:
    return ",".join(map(str, numbers))


@pytest.mark.assets
@pytest.mark.slow
def test_listed_accuracies_are_reproduced(assets: Path, document: Any) -> None:
    listed = tomllib.loads((assets / "models.toml").read_text(encoding="utf-8"))["model"]
    checked = 0
    for entry in (entry for entry in listed if "data" in entry):
        data = ("--data", assets / "data" / entry["data"])
        words = ("inspect", assets / entry["file"], *data, *recipe_options(entry))
        whole = entry.get("accuracy_all_854", entry.get("accuracy"))
        result = document(*words)["result"]
        assert result["accuracy"] == pytest.approx(whole, abs=0.005), entry["name"]
        assert result["parameters"] == entry["parameters"]
        if "accuracy_first_300" in entry:
            first = document(*words, "--limit", "300")["result"]
            assert first["accuracy"] == pytest.approx(entry["accuracy_first_300"], abs=0.005), entry["name"]
        checked += 1
    assert checked == 11


@pytest.mark.assets
def test_the_first_convolution_is_found_through_its_identity(assets: Path, document: Any) -> None:
    result = document("inspect", assets / "models" / "cifar10_ada_resnet4b_pgd.onnx")["result"]
    assert result["operators"]["Identity"] == 2
    assert result["convolutions"][0]["name"] == "/conv1/Conv"
    assert len(result["convolutions"]) == result["operators"]["Conv"] == 11


@pytest.mark.assets
@pytest.mark.slow
@pytest.mark.parametrize("name", ["carvana_unet_simp_small", "gtsrb_bnn_30", "tinyyolo"])
def test_odd_models_are_surveyed_in_bounded_memory(assets: Path, valid: Any, name: str) -> None:
    result = valid(_limited(assets / "compat" / f"{name}.onnx"))["result"]
    codes = {finding["code"] for finding in result["findings"]}
    assert ("zero-gradient" in codes) == (name != "tinyyolo")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(light_models()) - {"vgg19", "zfnet512"}))  # half a gigabyte each
def test_light_models_are_surveyed_in_bounded_memory(name: str, tmp_path: Path) -> None:
    path = he_initialised(light_models()[name], tmp_path / "model.onnx")
    result = json.loads(_limited(path))["result"]
    assert result["multiply_adds"] > 1e8
    assert result["convolutions"]
    path.unlink()


def _limited(path: Path) -> str:
    """What ``inspect --json`` prints in a process that may not take more than a few gigabytes."""
    code = (
        f"import resource\nresource.setrlimit(resource.RLIMIT_AS, ({ROOM}, {ROOM}))\n"
        "from specprobe_cli import main\nmain()"
    )
    words = [sys.executable, "-c", code, "inspect", str(path), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
