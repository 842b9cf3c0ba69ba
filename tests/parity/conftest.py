"""PyTorch, and the architectures that the benchmarks export from it."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ARCHITECTURES = Path(__file__).parents[2] / "benchmarks" / "architectures.py"


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """PyTorch, where it and what its exporter needs are installed; tests that use it carry the marker ``torch``."""
    pytest.importorskip("onnxscript", reason="onnxscript is not installed: PyTorch's exporter needs it")
    found: ModuleType = pytest.importorskip("torch", reason="torch is not installed")
    return found


@pytest.fixture(scope="session")
def architectures(torch: ModuleType) -> ModuleType:
    """``benchmarks/architectures.py``, which is no package."""
    spec = importlib.util.spec_from_file_location("architectures", ARCHITECTURES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
