"""What the machine can run, on machines that this one is not."""

from importlib import metadata
from types import SimpleNamespace
from typing import Any

import pytest

from specprobe.errors import DeviceUnavailable
from specprobe.runtime import diagnosis
from specprobe.runtime.device import Device
from specprobe.runtime.diagnosis import Check, diagnose


def checks() -> dict[str, Check]:
    found = diagnose()
    assert len({check.name for check in found}) == len(found)
    return {check.name: check for check in found}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Distributions of the machine: to be filled by the test."""
    versions: dict[str, str] = {}

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", version)
    return versions


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A runtime with a CUDA provider whose sessions open."""
    fake = SimpleNamespace(
        __version__="9.9",
        cuda_version="13.0",
        get_available_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider", "OtherProvider"],
    )
    monkeypatch.setattr(diagnosis, "import_onnxruntime", lambda: fake)
    monkeypatch.setattr(diagnosis, "opens", lambda device: None)
    return fake


def test_this_machine_runs_models() -> None:
    found = checks()
    assert found["specprobe"].status == "ok"
    assert found["onnxruntime"].status == "ok"
    assert found["device cpu"] == Check(name="device cpu", status="ok", message="opens a session")
    assert "usable of" in found["threads"].message
    assert "numpy " in found["libraries"].message


def test_two_runtimes_at_once_are_an_error(installed: dict[str, str], runtime: Any) -> None:
    installed |= {"onnxruntime": "9.9", "onnxruntime-gpu": "9.8"}
    check = checks()["onnxruntime"]
    assert check.status == "error"
    assert check.message.startswith("onnxruntime 9.9, onnxruntime-gpu 9.8 are installed at once")
    assert str(check.remedy).startswith("pip uninstall -y onnxruntime onnxruntime-gpu && pip install")


def test_no_runtime_is_an_error_with_a_remedy(
    installed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent() -> Any:
        msg = "no ONNX runtime is installed"
        raise DeviceUnavailable(msg)

    monkeypatch.setattr(diagnosis, "import_onnxruntime", absent)
    found = checks()
    assert found["onnxruntime"].status == "error"
    assert found["onnxruntime"].remedy == 'pip install "specprobe[cpu]"'
    assert not [name for name in found if name.startswith("device")]


def test_a_gpu_that_opens_is_fine(installed: dict[str, str], runtime: Any) -> None:
    found = checks()
    assert "built for CUDA: 13.0" in found["onnxruntime"].message
    assert found["device cuda:0"].status == "ok"
    assert found["other providers"].message == "OtherProvider: not used"


def test_a_gpu_that_does_not_open_is_an_error(
    installed: dict[str, str], runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "opens", lambda device: None if device == Device() else "no driver")
    check = checks()["device cuda:0"]
    assert (check.status, check.message) == ("error", "no driver")
    assert "nvidia-smi" in str(check.remedy)


def test_a_runtime_without_cuda_is_a_note(
    installed: dict[str, str], runtime: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.get_available_providers = lambda: ["CPUExecutionProvider"]
    monkeypatch.setattr(diagnosis, "opens", lambda device: None if device == Device() else "no provider")
    check = checks()["device cuda:0"]
    assert check.status == "note"
    assert 'pip install "specprobe[cuda]"' in str(check.remedy)


@pytest.mark.parametrize(
    ("packages", "devices", "status", "words"),
    [
        ({}, [], "note", "not installed"),
        ({"cupy-cuda12x": "1", "cupy-cuda13x": "2"}, [], "error", "are installed at once"),
        (
            {"cupy-cuda13x": "2"},
            "ImportError: libcuda",
            "warning",
            "cupy-cuda13x 2 finds no GPU: ImportError: libcuda",
        ),
        ({"cupy-cuda13x": "2"}, ["H200"], "ok", "cupy-cuda13x 2, H200"),
    ],
)
def test_what_there_is_of_cupy(
    packages: dict[str, str],
    devices: Any,
    status: str,
    words: str,
    installed: dict[str, str],
    runtime: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed |= packages
    monkeypatch.setattr(diagnosis, "cupy_devices", lambda: devices)
    check = checks()["CuPy"]
    assert check.status == status
    assert words in check.message


def test_cuda_libraries_are_listed(installed: dict[str, str], runtime: Any) -> None:
    assert checks()["CUDA libraries"].status == "note"
    installed["nvidia-cufft"] = "12"
    assert checks()["CUDA libraries"] == Check(name="CUDA libraries", status="ok", message="nvidia-cufft 12")
