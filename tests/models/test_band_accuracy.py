"""On the shipped models with planted bands, accuracy falls with these bands and with no others."""

import json
import math
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

import specprobe

FOLDER = Path(__file__).resolve().parents[2] / "models" / "bands"
VARIANTS = json.loads((FOLDER / "bands.json").read_text(encoding="utf-8"))["variants"]
COVER = ((0, 1), (1, 3), (3, 5), (5, 7), (7, 9), (9, 10), (10, 12), (12, 13), (13, 15), (15, math.inf))


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_accuracy_drops_in_the_planted_bands_and_nowhere_else(variant: str) -> None:
    planted = {tuple(band) for band in VARIANTS[variant]["planted_bands"]}
    images = specprobe.load_images(FOLDER / f"{variant}.npz")
    result = specprobe.band_accuracy(
        specprobe.load(FOLDER / f"{variant}.onnx"), images, radii=(3, 5, 7, 9, 13, 15), bands=COVER
    )
    content = result.to_dict()
    drops = {
        (entry["low"], entry["high"] or math.inf): content["clean_accuracy"] - entry["accuracy"]
        for entry in content["band_stop"]
    }
    assert all((drop > 0.4) if band in planted else (abs(drop) <= 0.004) for band, drop in drops.items())
    assert sum(drops[band] for band in planted) >= 0.99 * sum(map(abs, drops.values()))
    for entry in content["band_pass"]:
        enough = {(entry["low"], entry["high"])} == planted
        assert (entry["accuracy"] > 0.99) == enough
    assert content["radius_95"] == max(high for _, high in planted)
    for entry in content["high_pass"]:
        if entry["radius"] <= min(low for low, _ in planted):
            assert entry["accuracy"] >= 0.99


@pytest.mark.slow
def test_a_network_gives_the_same_bits_whoever_runs_it() -> None:
    images = specprobe.load_images(FOLDER / "mid.npz", limit=200)
    network = specprobe.load(FOLDER / "mid.onnx", threads=1)
    serial = specprobe.band_accuracy(network, images, radii=(4, 8, 12))
    pools: list[Executor] = [ThreadPoolExecutor(2), ProcessPoolExecutor(2, get_context("spawn"))]
    for pool in pools:
        with pool:
            assert specprobe.band_accuracy(network, images, radii=(4, 8, 12), executor=pool) == serial
    for batch_size in (1, 20, 64):
        assert specprobe.band_accuracy(network, images, radii=(4, 8, 12), batch_size=batch_size) == serial
