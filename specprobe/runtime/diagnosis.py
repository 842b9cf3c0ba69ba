"""What this machine can run models on, tried rather than believed."""

import os
import platform
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal, TypeAlias

from specprobe import __version__
from specprobe.arrays import cupy_devices
from specprobe.errors import DeviceUnavailable
from specprobe.runtime.device import Device, available_threads, import_onnxruntime, installed_runtimes
from specprobe.runtime.session import opens

__all__ = ["Check", "diagnose"]

Status: TypeAlias = Literal["ok", "note", "warning", "error"]

_LIBRARIES = (
    "numpy",
    "scipy",
    "onnx",
    "onnx-ir",
    "array-api-compat",
    "pillow",
    "matplotlib",
    "pyarrow",
    "distributed",
)
_CUPY = ("cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x")
_CUDA_LIBRARIES = (
    *("nvidia-cuda-runtime", "nvidia-cublas", "nvidia-cufft", "nvidia-curand", "nvidia-cuda-nvrtc"),
    *("nvidia-cudnn-cu13", "nvidia-cuda-runtime-cu12", "nvidia-cublas-cu12", "nvidia-cudnn-cu12"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at.

    Attributes
    ----------
    name : str
        What.
    status : {"ok", "note", "warning", "error"}
        ``error`` keeps specprobe from working; ``note`` is something that is absent and need not be there.
    message : str
        What was found.
    remedy : str or None
        Command or step that mends it.
    """

    name: str
    status: Status
    message: str
    remedy: str | None = None


def diagnose() -> tuple[Check, ...]:
    """Look at runtimes, devices and libraries; every device is tried with a session.

    Returns
    -------
    tuple of Check
        In the order in which one thing needs another.
    """
    return (
        Check(name="specprobe", status="ok", message=f"{__version__}, Python {platform.python_version()}"),
        _runtime(),
        *_devices(),
        _cupy(),
        _cuda_libraries(),
        _threads(),
        _versions(),
    )


def _runtime() -> Check:
    installed = installed_runtimes()
    listed = ", ".join(f"{name} {version}" for name, version in installed.items())
    if len(installed) > 1:
        return Check(
            name="onnxruntime",
            status="error",
            message=f"{listed} are installed at once, and overwrite each other's files",
            remedy=f'pip uninstall -y {" ".join(installed)} && pip install "specprobe[cpu]"  (or specprobe[cuda])',
        )
    try:
        ort: Any = import_onnxruntime()
    except DeviceUnavailable as error:
        return Check(
            name="onnxruntime", status="error", message=str(error), remedy='pip install "specprobe[cpu]"'
        )
    built = getattr(ort, "cuda_version", "") or "none"
    return Check(
        name="onnxruntime", status="ok", message=f"{listed or ort.__version__}, built for CUDA: {built}"
    )


def _devices() -> list[Check]:
    try:
        ort: Any = import_onnxruntime()
    except DeviceUnavailable:
        return []
    checks = []
    providers = ort.get_available_providers()
    for device in (Device(), Device(kind="cuda")):
        failure = opens(device)
        absent = device.kind == "cuda" and "CUDAExecutionProvider" not in providers
        if failure is None:
            checks.append(Check(name=f"device {device}", status="ok", message="opens a session"))
        elif absent:
            message = "this runtime has no CUDA provider"
            remedy = 'with an NVIDIA GPU: pip uninstall -y onnxruntime && pip install "specprobe[cuda]"'
            checks.append(Check(name=f"device {device}", status="note", message=message, remedy=remedy))
        else:
            remedy = "check the driver (nvidia-smi, 580 or later for CUDA 13) and the CUDA libraries below"
            checks.append(Check(name=f"device {device}", status="error", message=failure, remedy=remedy))
    others = [p for p in providers if p not in {"CPUExecutionProvider", "CUDAExecutionProvider"}]
    if others:
        checks.append(Check(name="other providers", status="note", message=f"{', '.join(others)}: not used"))
    return checks


def _cupy() -> Check:
    installed = _installed(_CUPY)
    if not installed:
        return Check(name="CuPy", status="note", message="not installed; needed for --device cuda only")
    if len(installed) > 1:
        return Check(
            name="CuPy",
            status="error",
            message=f"{_listed(installed)} are installed at once",
            remedy=f"pip uninstall -y {' '.join(installed)} && pip install cupy-cuda13x",
        )
    found = cupy_devices()
    if isinstance(found, str):
        return Check(name="CuPy", status="warning", message=f"{_listed(installed)} finds no GPU: {found}")
    return Check(name="CuPy", status="ok", message=f"{_listed(installed)}, {', '.join(found)}")


def _cuda_libraries() -> Check:
    installed = _installed(_CUDA_LIBRARIES)
    message = _listed(installed) if installed else "none from pip"
    return Check(name="CUDA libraries", status="ok" if installed else "note", message=message)


def _threads() -> Check:
    usable, machine = available_threads(), os.cpu_count() or 1
    return Check(name="threads", status="ok", message=f"{usable} usable of {machine} processors")


def _versions() -> Check:
    return Check(name="libraries", status="ok", message=_listed(_installed(_LIBRARIES)))


def _installed(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _listed(installed: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in installed.items())
