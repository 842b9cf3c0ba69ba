"""What ``import specprobe`` costs."""

import subprocess
import sys

import pytest

HEAVY = (
    "PIL",
    "array_api_compat",
    "click",
    "cupy",
    "matplotlib",
    "numpy",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "scipy",
)


def loaded(code: str) -> set[str]:
    """Top-level packages that are loaded once ``code`` has run."""
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_importing_specprobe_loads_nothing_heavy() -> None:
    assert not loaded("import specprobe; specprobe.__version__; dir(specprobe)") & set(HEAVY)


def test_errors_findings_and_recipes_load_nothing_heavy() -> None:
    code = "import specprobe.errors, specprobe.findings, specprobe.recipe, specprobe.intervals"
    assert not loaded(code) & set(HEAVY)


@pytest.mark.parametrize(
    "module",
    [
        "arrays",
        "protocols",
        "results",
        "streaming",
        "randomness",
        "provenance",
        "images",
        "analysis.accuracy",
    ],
)
def test_numerics_load_neither_graphs_nor_a_runtime(module: str) -> None:
    assert not loaded(f"import specprobe.{module}") & {
        "PIL",
        "click",
        "cupy",
        "matplotlib",
        "onnx",
        "onnx_ir",
        "onnxruntime",
    }


@pytest.mark.parametrize("module", ["graph.load", "runtime.network", "runtime.device", "workflow.inspection"])
def test_the_runtime_is_loaded_when_it_is_used(module: str) -> None:
    assert not loaded(f"import specprobe.{module}") & {"PIL", "click", "cupy", "matplotlib", "onnxruntime"}
