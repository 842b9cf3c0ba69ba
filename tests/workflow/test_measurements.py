"""Several analyses in one pass over the images are each what their own function gives."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specprobe
from specprobe.errors import DataError
from specprobe.images import ArraySource, load_images
from specprobe.protocols import Batch
from specprobe.results import pack, unpack
from specprobe.runtime.network import Network, load
from specprobe.streaming import Checkpoint
from specprobe.workflow.measurements import ANALYSES, Measurements, measure

DIGITS = Path(specprobe.__file__).parent.parent / "models" / "digits"
IMAGES = 150  # more than two shards


@pytest.fixture(scope="module")
def network() -> Network:
    return load(DIGITS / "normal.onnx")


@pytest.fixture(scope="module")
def source() -> ArraySource:
    batch = load_images(DIGITS / "test.npz").read(0, IMAGES)
    return ArraySource(batch.images, batch.labels)


@pytest.fixture(scope="module")
def together(network: Network, source: ArraySource) -> Measurements:
    return measure(network, source)


def test_each_is_what_its_own_function_gives(
    network: Network, source: ArraySource, together: Measurements
) -> None:
    assert together.sensitivity == specprobe.fourier_sensitivity(network, source)
    assert together.bands == specprobe.band_accuracy(network, source)
    assert together.accuracy == specprobe.accuracy(network, source)


@pytest.mark.parametrize("analysis", ANALYSES)
def test_one_alone_leaves_the_others_out(
    network: Network, source: ArraySource, together: Measurements, analysis: str
) -> None:
    alone = measure(network, source, analyses=[analysis])
    for name in ANALYSES:
        assert getattr(alone, name) == (getattr(together, name) if name == analysis else None)


def test_processes_give_the_same_bits(network: Network, source: ArraySource, together: Measurements) -> None:
    with ProcessPoolExecutor(1) as executor:
        assert measure(network, source, executor=executor) == together


def test_a_pass_reads_every_image_once(network: Network, source: ArraySource) -> None:
    read: list[tuple[int, int]] = []

    class Counted(ArraySource):
        def read(self, start: int, stop: int, /) -> Batch:
            read.append((start, stop))
            return super().read(start, stop)

    batch = source.read(0, IMAGES)
    measure(network, Counted(batch.images, batch.labels))
    assert read == [(0, 64), (64, 128), (128, IMAGES)]


def test_an_interrupted_run_ends_in_the_same_bits(
    network: Network, source: ArraySource, together: Measurements, tmp_path: Path
) -> None:
    def stop(done: int) -> None:
        if done >= 128:
            raise KeyboardInterrupt

    checkpoint = Checkpoint(path=tmp_path / "part.npz", fingerprint="it", resume=True)
    with pytest.raises(KeyboardInterrupt):
        measure(network, source, checkpoint=checkpoint, progress=stop)
    part: Any
    done, part = checkpoint.read() or (0, None)
    assert done == 2
    assert part.bands.images == part.sensitivity.images == 128
    progress: list[int] = []
    assert measure(network, source, checkpoint=checkpoint, progress=progress.append) == together
    assert progress == [128, IMAGES]
    assert not checkpoint.path.exists()


def test_results_within_results_survive_being_packed(together: Measurements) -> None:
    assert unpack(*pack(together)) == together
    assert unpack(*pack(Measurements(bands=together.bands))) == Measurements(bands=together.bands)


def test_without_labels_there_is_no_accuracy(network: Network, source: ArraySource) -> None:
    unlabelled = ArraySource(source.read(0, IMAGES).images, None)
    found = measure(network, unlabelled)
    assert found.accuracy is None
    assert found.sensitivity is not None
    assert found.sensitivity.target == "predicted"
    assert found.sensitivity == specprobe.fourier_sensitivity(network, unlabelled)
    assert found.bands is not None
    assert found.bands.clean is None
    with pytest.raises(DataError, match="no labels, so there is no accuracy; give them with --labels FILE"):
        measure(network, unlabelled, analyses=["accuracy"])


def test_what_is_not_known_is_refused(network: Network, source: Any) -> None:
    with pytest.raises(ValueError, match="analyses hold heatmap; accepted are accuracy, sensitivity, bands"):
        measure(network, source, analyses=["accuracy", "heatmap"])


def test_limit_and_labels_are_those_of_each_analysis(network: Network, source: ArraySource) -> None:
    found = measure(network, source, limit=70, batch_size=9)
    assert found.bands is not None
    assert found.sensitivity is not None
    assert found.bands.images == found.sensitivity.images == 70
    wrong = ArraySource(source.read(0, 2).images, np.array([0, 10]))
    with pytest.raises(DataError, match="label 10 of image 1 is no class"):
        measure(network, wrong)
