"""What a result was made with and from."""

import hashlib
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from specprobe import __version__, provenance
from specprobe.graph.load import open_model
from specprobe.images import ArraySource
from specprobe.provenance import data_facts, model_facts
from specprobe.recipe import Preprocessing
from specprobe.runtime.network import load


@pytest.fixture
def model(tmp_path: Path) -> Path:
    text = '<ir_version: 8, opset_import: ["" : 18], producer_name: "maker", producer_version: "2"> '
    text += "g (float[N, 3, 4, 4] x) => (float[N, 48] y) { f = Flatten (x) y = Mul (f, w) }"
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(48, np.float32), "w"))
    path = tmp_path / "model.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="data.bin", size_threshold=0)
    return path


def test_model_facts_name_the_file_without_its_folder(model: Path) -> None:
    facts = model_facts(open_model(model))
    assert facts["file"] == "model.onnx"
    assert facts["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    data = model.parent / "data.bin"
    assert facts["external_data"] == {"data.bin": hashlib.sha256(data.read_bytes()).hexdigest()}
    assert facts["bytes"] == model.stat().st_size + data.stat().st_size
    assert (facts["ir_version"], facts["opset"], facts["producer"]) == (8, 18, "maker 2")
    assert "preprocessing" not in facts
    assert str(model.parent) not in json.dumps(facts)


def test_model_facts_say_how_it_was_fed(model: Path) -> None:
    network = load(model, preprocessing=Preprocessing(mean=(0.5,)))
    facts = model_facts(open_model(model), network)
    assert facts["preprocessing"]["mean"] == [0.5]
    assert facts["preprocessing"]["layout"] == "NCHW"
    assert (facts["image_shape"], facts["classes"], facts["batch"]) == ([3, 4, 4], 48, None)
    assert facts["findings"] == []
    json.dumps(facts, allow_nan=False)


def test_data_facts_tell_which_images_were_used() -> None:
    source = ArraySource(np.zeros((4, 3, 2, 2), np.float32), np.arange(4))
    digests = source.read(0, 3).digests
    facts = data_facts(source, digests)
    assert (facts["images"], facts["images_used"]) == (4, 3)
    assert facts["digest"] == hashlib.sha256(digests.tobytes()).hexdigest()
    assert "digest" not in data_facts(source)


def test_provenance_can_be_published(monkeypatch: pytest.MonkeyPatch) -> None:
    argv = [
        "inspect",
        "/home/somebody/model.onnx",
        "~/data",
        "../up/there.npz",
        "relative/model.onnx",
        "--seed",
        "3",
    ]
    content = provenance.provenance({"device": "cpu", "epsilon": float("nan")}, argv=argv)
    assert content["command"] == [
        "inspect",
        "model.onnx",
        "data",
        "there.npz",
        "relative/model.onnx",
        "--seed",
        "3",
    ]
    assert content["settings"] == {"device": "cpu", "epsilon": None}
    assert content["version"] == __version__
    assert content["packages"]["numpy"] == np.__version__
    assert content["python"] == sys.version.split()[0]
    assert provenance.provenance({})["command"] is None
    json.dumps(content, allow_nan=False)


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("/a/b/c.onnx", "c.onnx"),
        ("--data=/a/b/c.npz", "--data=c.npz"),
        ("-o/a/b/c.json", "-oc.json"),
        ("--mean=0.5,0.5,0.5", "--mean=0.5,0.5,0.5"),
        ("--range=-1:1", "--range=-1:1"),
        ("--epsilon=8/255", "--epsilon=8/255"),
        ("8/255", "8/255"),
        ("relative/c.onnx", "relative/c.onnx"),
        (r"C:\Users\somebody\c.onnx", "c.onnx"),
    ],
)
def test_folders_are_cut_off_arguments(word: str, shown: str) -> None:
    assert provenance.provenance({}, argv=[word])["command"] == [shown]


def test_packages_that_are_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "scipy":
            return "1.0"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert provenance.provenance({})["packages"] == {"scipy": "1.0"}


def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "specprobe" / "provenance.py"))


def test_an_installed_package_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "specprobe" / "provenance.py"))
    assert provenance.provenance({})["commit"] is None


@pytest.mark.parametrize(("output", "commit"), [("abc123\n", "abc123"), ("", None)])
def test_a_checkout_has_the_commit_that_git_tells(
    output: str, commit: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout(tmp_path, monkeypatch)
    finished: Any = subprocess.CompletedProcess([], 0, stdout=output)
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: finished)
    assert provenance.provenance({})["commit"] == commit


@pytest.mark.parametrize("error", [FileNotFoundError("git"), subprocess.TimeoutExpired("git", 5)])
def test_without_git_there_is_no_commit(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*words: Any, **options: Any) -> Any:
        raise error

    checkout(tmp_path, monkeypatch)
    monkeypatch.setattr(subprocess, "run", run)
    assert provenance.provenance({})["commit"] is None
