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
ANY = json.loads((MODELS / "bands" / "any.json").read_text(encoding="utf-8"))
TRAINING_IMAGES = {
    "low": "1723fe90",
    "mid": "b572215c",
    "high": "68df224e",
    "low_high": "5c0fba25",
    "any": "1a68a92e",
}
"""First digits of the checksums of the first four, which the shipped networks were trained on."""


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


@pytest.mark.parametrize(
    ("name", "floor"),
    [
        *(("normal", 0.97), ("robust", 0.94), ("noise", 0.97), ("low_pass", 0.97), ("scale", 0.97)),
        *(("rotation", 0.97), ("wide", 0.97), ("mlp", 0.96), ("attention", 0.95)),
    ],
)
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


@pytest.mark.slow
@pytest.mark.parametrize("name", ANY["networks"])
def test_redundant_bands_are_used_as_the_table_says(name: str) -> None:
    """Measured by another framework, which may round an image or two to the other side."""
    images = specprobe.load_images(MODELS / "bands" / "any.npz")
    listed = ANY["networks"][name]
    bands = [tuple(row["band"]) for row in listed["per_band"]]
    found = specprobe.band_accuracy(
        network(MODELS / "bands" / f"{name}.onnx"), images, radii=(), bands=bands, restore_mean=True
    ).to_dict()
    assert found["clean_accuracy"] == pytest.approx(listed["accuracy"], abs=0.003)
    assert listed["accuracy"] >= 0.95
    for row, only, without in zip(listed["per_band"], found["band_pass"], found["band_stop"], strict=True):
        assert only["accuracy"] == pytest.approx(row["accuracy_only"], abs=0.005)
        assert without["accuracy"] == pytest.approx(row["accuracy_without"], abs=0.005)
        if not row["planted"]:
            assert only["accuracy"] <= 0.4
            assert without["accuracy"] >= 0.95


def test_each_redundant_band_gives_the_label_alone() -> None:
    """No network: the direction with the most power in a band is the label, but in the band that tells nothing."""
    generate = _generator()
    images, labels = generate.generate("any", "test", 200)
    spectrum = np.abs(np.fft.fft2(images.transpose(0, 3, 1, 2) / 255)) ** 2
    for edges in generate.CANDIDATE_BANDS:
        inside = [generate.band(*edges) & (generate.orientation() == k) for k in range(generate.ORIENTATIONS)]
        means = np.stack([spectrum[:, :, wedge].mean(axis=(1, 2)) for wedge in inside], axis=1)
        right = (means.argmax(axis=1) == labels).mean()
        if edges in generate.REDUNDANT_BANDS["any"]:
            assert right >= 0.97
        else:
            assert right <= 0.4


@pytest.mark.parametrize("variant", [*VARIANTS, "any"])
def test_band_images_regenerate_from_their_seed(variant: str) -> None:
    generate = _generator()
    images, labels = generate.generate(variant, "test", 25, BANDS["seed"])
    with np.load(MODELS / "bands" / f"{variant}.npz", allow_pickle=False) as shipped:
        assert np.array_equal(images, shipped["images"][:25])
        assert np.array_equal(labels, shipped["labels"][:25])


@pytest.mark.parametrize("variant", TRAINING_IMAGES)
def test_training_images_stay_those_of_the_shipped_networks(variant: str) -> None:
    images, _ = _generator().generate(variant, "train", 4)
    assert hashlib.sha256(images.tobytes()).hexdigest().startswith(TRAINING_IMAGES[variant])


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
