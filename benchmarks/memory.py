"""Peak memory of the streamed accuracy at 10 000 images over that at 1 000, each in a process of its own.

python benchmarks/memory.py
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models/bands/mid.onnx"


def peak(data: Path) -> float:
    """Peak resident megabytes of a process that computes the accuracy on ``data``."""
    done = subprocess.run(
        [sys.executable, __file__, "--measure", str(data)], capture_output=True, text=True, check=True
    )
    megabytes: float = json.loads(done.stdout)
    return megabytes


def measure(data: Path) -> None:
    """Compute the accuracy on ``data`` and print this process's peak memory in megabytes."""
    import specprobe

    images = specprobe.load_images(data)
    network = specprobe.load(MODEL, image_shape=images.image_shape)
    specprobe.accuracy(network, images)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def write(path: Path, images: int) -> None:
    """Noise images and labels, deflated."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, 32, 32, 3), dtype=np.uint8)
    np.savez_compressed(path, images=pixels, labels=rng.integers(0, 4, images))


def main() -> None:
    """Measure both and print the ratio."""
    with tempfile.TemporaryDirectory() as folder:
        peaks = {}
        for images in (1000, 10_000):
            path = Path(folder) / f"{images}.npz"
            write(path, images)
            peaks[images] = sorted(peak(path) for _ in range(3))[1]
            print(f"{images:6d} images  {peaks[images]:7.1f} MiB peak, median of 3")
    print(f"ratio          {peaks[10_000] / peaks[1000]:.3f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(Path(sys.argv[2]))
    else:
        main()
