"""Where a model runs, and with how many threads."""

import os
import re
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from specprobe.errors import DeviceUnavailable

if TYPE_CHECKING:
    from types import ModuleType

__all__ = [
    "MOST_THREADS",
    "Device",
    "available_threads",
    "check_threads",
    "import_onnxruntime",
    "installed_runtimes",
]

RUNTIMES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-qnn",
)
"""Distributions that install the package ``onnxruntime``; each overwrites the files of the others."""

MOST_THREADS = 256
"""For one operator: beyond it a number is taken for a mistake."""

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_NAME = re.compile(r"(cpu|cuda)(?::(\d+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A processor.

    Attributes
    ----------
    kind : {"cpu", "cuda"}
        CPU, or an NVIDIA GPU.
    index : int
        Which GPU.
    """

    kind: Literal["cpu", "cuda"] = "cpu"
    index: int = 0

    @classmethod
    def parse(cls, text: str, /) -> "Device":
        """Device that ``text`` names.

        Parameters
        ----------
        text : str
            ``cpu``, ``cuda`` or ``cuda:1``. What ``auto`` means has to be tried out:
            :func:`specprobe.runtime.session.choose_device`.

        Returns
        -------
        Device
            Whether it starts is not looked into.

        Raises
        ------
        DeviceUnavailable
            If ``text`` names no device.
        """
        match = _NAME.fullmatch(text)
        if match is None or (match[1] != "cuda" and match[2]):
            msg = f"there is no device '{text}'; accepted are cpu, cuda, cuda:INDEX, auto"
            raise DeviceUnavailable(msg)
        return cls(kind="cuda" if match[1] == "cuda" else "cpu", index=int(match[2] or 0))

    def __str__(self) -> str:
        return "cpu" if self.kind == "cpu" else f"cuda:{self.index}"


def available_threads() -> int:
    """Processors that this process may use: its affinity, cut down to a container's quota.

    Returns
    -------
    int
        At least 1. onnxruntime by itself counts the machine's cores, whatever the process may use of them.
    """
    # macOS and Windows have no affinity to ask for.
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text().split()
    except (OSError, ValueError):
        return count
    return count if quota == "max" else max(1, min(count, int(quota) // int(period)))


def check_threads(threads: int | None, /) -> None:
    """Refuse a number of threads that is surely a mistake.

    Parameters
    ----------
    threads : int or None
        For one operator; None leaves it to :func:`available_threads`.

    Raises
    ------
    ValueError
        If it lies outside 1 to :data:`MOST_THREADS`.
    """
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        msg = f"threads is {threads}; accepted are whole numbers from 1 to {MOST_THREADS}, {available_threads()} fit here"
        raise ValueError(msg)


def installed_runtimes() -> dict[str, str]:
    """Installed distributions of onnxruntime.

    Returns
    -------
    dict of str to str
        Version by distribution. More than one means that files of one lie over those of another.
    """
    found = {}
    for name in RUNTIMES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def import_onnxruntime() -> "ModuleType":
    """The module ``onnxruntime``.

    Returns
    -------
    module
        With its log turned down to errors: what matters is raised.

    Raises
    ------
    DeviceUnavailable
        If no runtime is installed, or it does not load.
    """
    try:
        import onnxruntime
    except ImportError as error:
        installed = installed_runtimes()
        if installed:
            listed = ", ".join(f"{name} {version}" for name, version in installed.items())
            msg = f"{listed} is installed but does not load: {error}; run: specprobe doctor"
        else:
            msg = (
                'no ONNX runtime is installed; run: pip install "specprobe[cpu]", '
                'or on a machine with an NVIDIA GPU: pip install "specprobe[cuda]"'
            )
        raise DeviceUnavailable(msg) from error
    module: ModuleType = onnxruntime
    module.set_default_logger_severity(4)
    return module
