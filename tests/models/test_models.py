"""The shipped models are the ones described: checksums, accuracies, data that regenerate, planted bands that matter."""

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specprobe
from specprobe.runtime.network import Network

MODELS = Path(__file__).resolve().parents[2] / "models"
BANDS = json.loads((MODELS / "bands" / "bands.json").read_text(encoding="utf-8"))
VARIANTS = tuple(BANDS["variants"])


def network(path: Path) -> Network:
    return specprobe.load(path)


@pytest.mark.parametrize("folder", ["digits", "bands"])
def test_files_are_those_of_the_checksums(folder: str) -> None:
    lines = (MODELS / folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    named = {name: digest for digest, name in (line.split() for line in lines)}
    binary = {p.name for p in (MODELS / folder).iterdir() if p.suffix in {".onnx", ".npz", ".json"}}
    assert binary == set(named)
    for name, digest in named.items():
        assert hashlib.sha256((MODELS / folder / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize(("name", "floor"), [("normal", 0.97), ("robust", 0.94)])
def test_digits_are_recognised(name: str, floor: float) -> None:
    images = specprobe.load_images(MODELS / "digits" / "test.npz")
    assert specprobe.accuracy(network(MODELS / "digits" / f"{name}.onnx"), images).accuracy >= floor


@pytest.mark.parametrize("variant", VARIANTS)
def test_bands_are_recognised_as_their_table_says(variant: str) -> None:
    images = specprobe.load_images(MODELS / "bands" / f"{variant}.npz")
    measured = specprobe.accuracy(network(MODELS / "bands" / f"{variant}.onnx"), images)
    assert measured.accuracy == pytest.approx(BANDS["variants"][variant]["accuracy"], abs=0.003)


@pytest.mark.parametrize("variant", VARIANTS)
def test_only_the_planted_bands_matter(variant: str) -> None:
    source = specprobe.load_images(MODELS / "bands" / f"{variant}.npz")
    batch = source.read(0, source.images)
    classifier = network(MODELS / "bands" / f"{variant}.onnx")
    planted = {tuple(band) for band in BANDS["variants"][variant]["planted_bands"]}
    f = np.fft.fftfreq(32) * 32
    rho = np.hypot(f[:, None], f[None, :])
    for low, high in BANDS["candidate_bands"]:
        keep = ~((low <= rho) & (rho < high))
        removed = np.fft.ifft2(np.fft.fft2(batch.images) * keep).real.astype(np.float32)
        accuracy = (np.argmax(classifier.logits(removed), axis=1) == batch.labels).mean()
        if (low, high) not in planted:
            assert accuracy >= 0.97
        elif len(planted) == 1:
            assert accuracy <= 0.35  # four classes; without evidence a network may favour one of them
        else:
            assert accuracy <= 0.6  # one of two bits is left


@pytest.mark.parametrize("variant", VARIANTS)
def test_band_images_regenerate_from_their_seed(variant: str) -> None:
    generate = _generator()
    images, labels = generate.generate(variant, "test", 25, BANDS["seed"])
    with np.load(MODELS / "bands" / f"{variant}.npz", allow_pickle=False) as shipped:
        assert np.array_equal(images, shipped["images"][:25])
        assert np.array_equal(labels, shipped["labels"][:25])


def test_band_images_do_not_depend_on_how_many_are_made() -> None:
    generate = _generator()
    few, _ = generate.generate("mid", "train", 3, 7)
    more, _ = generate.generate("mid", "train", 9, 7)
    other, _ = generate.generate("mid", "train", 3, 8)
    assert np.array_equal(few, more[:3])
    assert not np.array_equal(few, other)


def _generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate", MODELS / "bands" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
