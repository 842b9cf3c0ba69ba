"""Fixtures that every part's tests share."""

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# Read when NumPy is first imported. Test processes whose BLAS threads wait for each other's processors take far longer.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable


# How long an example takes says more of the machine than of the code.
settings.register_profile("specprobe", deadline=None)
settings.load_profile("specprobe")


@pytest.fixture(scope="session")
def assets() -> Path:
    """Folder of real models and images; tests that use it carry the marker ``assets``."""
    folder = os.environ.get("SPECPROBE_ASSETS")
    if not folder:
        pytest.skip("SPECPROBE_ASSETS does not name the folder of real models and images")
    return Path(folder)


@pytest.fixture(
    scope="session",
    params=[
        "numpy",
        "numpy-readonly",
        "array_api_strict",
        "torch",
        pytest.param("cupy", marks=pytest.mark.cuda),
    ],
)
def placed(request: pytest.FixtureRequest) -> "Callable[[Any], Any]":
    """Makes an array of one library after the other from one of NumPy; what writes into it in secret is found out."""
    if request.param.startswith("numpy"):

        def place(values: Any) -> Any:
            copy = np.array(values)
            copy.setflags(write=request.param == "numpy")
            return copy

        return place
    library = pytest.importorskip(request.param)
    return lambda values: library.asarray(np.array(values))


@pytest.hookimpl
def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many of ONNX's own cases there are, are differentiable, and pass; here, since workers print nothing."""
    told = [
        dict(report.user_properties)
        for key in ("passed", "failed")
        for report in terminalreporter.stats.get(key, [])
        if report.when == "call" and "conformance" in report.nodeid
    ]
    kinds = Counter(told_of["kind"] for told_of in told if "kind" in told_of)
    if kinds:
        differentiable = sum(1 for told_of in told if told_of.get("differentiable"))
        terminalreporter.write_line(
            f"gradients of ONNX's node cases: {kinds['passed']} pass, {differentiable} are differentiable, "
            f"{kinds.total()} in total; {', '.join(f'{n} {kind}' for kind, n in kinds.most_common() if kind != 'passed')}"
        )
