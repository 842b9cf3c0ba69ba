"""Fixtures that every part's tests share."""

import os
from pathlib import Path

import pytest

# Read when NumPy is first imported. Test processes whose BLAS threads wait for each other's processors take far longer.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def assets() -> Path:
    """Folder of real models and images; tests that use it carry the marker ``assets``."""
    folder = os.environ.get("SPECPROBE_ASSETS")
    if not folder:
        pytest.skip("SPECPROBE_ASSETS does not name the folder of real models and images")
    return Path(folder)
