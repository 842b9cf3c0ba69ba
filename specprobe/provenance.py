"""What a result was made with and from, so that it can be made again."""

import hashlib
import platform
import re
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specprobe import __version__
from specprobe.results import finite

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from specprobe.graph.load import ModelFile
    from specprobe.protocols import ImageSource
    from specprobe.runtime.network import Network

__all__ = ["data_facts", "model_facts", "provenance"]

_PACKAGES = ("numpy", "onnx", "onnx-ir", "onnxruntime", "onnxruntime-gpu", "cupy-cuda13x", "pillow", "scipy")

_PATH = re.compile(r"(-[^=/\\~.]*=?|[\w.-]+=)?((?:[/~]|\.\.|[A-Za-z]:[/\\]).*)", re.DOTALL)
"""A path that tells where it lies, behind an option or not."""


def model_facts(file: "ModelFile", network: "Network | None" = None, /) -> dict[str, Any]:
    """Which model, and how it was fed.

    Parameters
    ----------
    file : ModelFile
        The opened file.
    network : Network, optional
        Where it was run.

    Returns
    -------
    dict
        JSON values; the file by name and checksum, without its folder.
    """
    facts: dict[str, Any] = {
        "file": file.path.name,
        "sha256": file.sha256,
        "external_data": {path.name: _sha256(path) for path in file.external_files},
        "bytes": file.bytes,
        "ir_version": file.ir_version,
        "opset": file.opset,
        "producer": file.producer,
    }
    if network is not None:
        facts |= {
            "preprocessing": finite(network.preprocessing),
            "image_shape": list(network.image_shape),
            "classes": network.classes,
            "input": network.input,
            "output": network.output,
            "batch": network.batch,
            "findings": [finding.to_dict() for finding in network.findings],
        }
    return facts


def data_facts(source: "ImageSource", digests: "NDArray[np.uint8] | None" = None, /) -> dict[str, Any]:
    """Which images.

    Parameters
    ----------
    source : ImageSource
        Where they come from.
    digests : numpy.ndarray of uint8, shape (N, 16), optional
        Of the images used, in order.

    Returns
    -------
    dict
        JSON values; ``digest`` is the SHA-256 of the images' digests.
    """
    facts = dict(source.describe())
    if digests is not None:
        facts["images_used"] = len(digests)
        facts["digest"] = hashlib.sha256(digests.tobytes()).hexdigest()
    return facts


def provenance(settings: dict[str, Any], /, *, argv: Iterable[str] | None = None) -> dict[str, Any]:
    """How the result was made.

    Parameters
    ----------
    settings : dict
        Of the analysis: device, threads, batch size, seed.
    argv : iterable of str, optional
        Command line; folders are cut off the arguments that are paths.

    Returns
    -------
    dict
        JSON values. No host name, user or folder: a result can be published as it is.
    """
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "tool": "specprobe",
        "version": __version__,
        "commit": _commit(),
        "command": None if argv is None else [_without_folder(word) for word in argv],
        "settings": finite(settings),
        "packages": packages,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def _without_folder(word: str) -> str:
    match = _PATH.fullmatch(word)
    return word if match is None else (match[1] or "") + re.split(r"[/\\]", match[2])[-1]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _commit() -> str | None:
    """Commit of a source checkout; None for an installed package."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        run = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip() or None
