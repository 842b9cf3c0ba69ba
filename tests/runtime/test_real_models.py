"""Models that others trained, through one recipe each: the clean accuracy shows whether they are fed and read right."""

import os
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specprobe
from specprobe.errors import ModelError
from specprobe.protocols import ImageSource
from specprobe.recipe import Preprocessing
from specprobe.runtime.network import Network

FOLDER = Path(os.environ.get("SPECPROBE_ASSETS", "nowhere"))

pytestmark = [
    pytest.mark.assets,
    pytest.mark.skipif(
        "SPECPROBE_ASSETS" not in os.environ, reason="SPECPROBE_ASSETS does not name the folder of assets"
    ),
]


def entries() -> list[dict[str, Any]]:
    """What models.toml lists; one empty entry where there is none, for a visible skip."""
    if "SPECPROBE_ASSETS" not in os.environ:
        return [{"name": "absent"}]
    found: list[dict[str, Any]] = tomllib.loads((FOLDER / "models.toml").read_text(encoding="utf-8"))["model"]
    return found


CLASSIFIERS = [
    pytest.param(entry, id=entry["name"]) for entry in entries() if "data" in entry or len(entry) == 1
]


@cache
def source(data: str) -> ImageSource:
    return specprobe.load_images(FOLDER / "data" / data)


def network(entry: dict[str, Any]) -> Network:
    """As a user would load it: mean and std are published with the model, the shape is that of the data."""
    recipe = Preprocessing(mean=tuple(map(float, entry["mean"])), std=tuple(map(float, entry["std"])))
    loaded: Network = specprobe.load(
        FOLDER / entry["file"], preprocessing=recipe, image_shape=source(entry["data"]).image_shape
    )
    return loaded


@pytest.mark.parametrize("entry", CLASSIFIERS)
def test_the_published_accuracy_is_reproduced(entry: dict[str, Any]) -> None:
    loaded = network(entry)
    assert loaded.batch is None
    assert loaded.sha256 == entry["sha256"]
    assert loaded.preprocessing.layout == (entry["layout"] if len(entry["input_shape"]) == 4 else "flat")
    result = specprobe.accuracy(loaded, source(entry["data"]))
    if "accuracy" in entry:
        assert result.images == 1000
        assert result.accuracy == pytest.approx(entry["accuracy"], abs=0.005)
        return
    assert result.images == 854
    assert result.accuracy == pytest.approx(entry["accuracy_all_854"], abs=0.005)
    assert result.image_correct is not None
    assert float(result.image_correct[:300].mean()) == pytest.approx(entry["accuracy_first_300"], abs=0.005)
    first = specprobe.accuracy(loaded, source(entry["data"]), limit=300)
    assert first.images == 300
    assert first.image_correct is not None
    assert np.array_equal(first.image_correct, result.image_correct[:300])


@pytest.mark.parametrize("name", ["carvana_unet_simp_small"])
def test_what_gives_no_logits_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=r"this is not a classifier; accepted are logits \[N, K\]"):
        specprobe.load(FOLDER / "compat" / f"{name}.onnx")


def test_a_binarised_network_runs() -> None:
    loaded = specprobe.load(FOLDER / "compat" / "gtsrb_bnn_30.onnx")
    assert (loaded.image_shape, loaded.classes) == ((3, 30, 30), 43)
    images = np.random.default_rng(0).random((3, 3, 30, 30), dtype=np.float32)
    assert np.isfinite(loaded.logits(images)).all()
