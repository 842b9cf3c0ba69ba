"""The libraries that are adapted to, where they are installed, and a network with images for them to attack."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import specprobe
from specprobe.runtime.network import Network

DIGITS = Path(__file__).parents[2] / "models" / "digits"
COUNT = 24


@pytest.fixture(scope="session")
def art(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """ART's attacks. Importing ART warns where there is no PyTorch, and writes settings into the home folder."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        warnings.simplefilter("ignore")
        found: ModuleType = pytest.importorskip("art.attacks.evasion", reason="ART is not installed")
    return found


@pytest.fixture(scope="session")
def foolbox() -> ModuleType:
    """Foolbox. Importing it warns of a namespace that SciPy has deprecated, and fails where there is no git."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("GIT_PYTHON_REFRESH", "quiet")
        warnings.simplefilter("ignore")
        found: ModuleType = pytest.importorskip("foolbox", reason="Foolbox is not installed")
    return found


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """PyTorch; tests that use it carry the marker ``torch``."""
    found: ModuleType = pytest.importorskip("torch", reason="torch is not installed")
    return found


@pytest.fixture(scope="session")
def network() -> Network:
    """A small network, all of whose answers to :func:`images` are right."""
    return specprobe.load(DIGITS / "normal.onnx")


@pytest.fixture
def images() -> Any:
    """Digits, (N, 1, 16, 16), read-only."""
    with np.load(DIGITS / "test.npz") as data:
        pixels = np.moveaxis(data["images"][:COUNT], 3, 1).astype(np.float32) / np.float32(255)
    pixels.flags.writeable = False
    return pixels


@pytest.fixture
def labels() -> Any:
    """Their classes, (N,)."""
    with np.load(DIGITS / "test.npz") as data:
        return data["labels"][:COUNT].astype(np.int64)


@pytest.fixture
def seeded() -> Iterator[None]:
    """NumPy's global generator, which both libraries draw from, in a known state."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    yield
    np.random.set_state(state)  # noqa: NPY002
