"""Peak memory of the streamed analyses at 10 000 images over that at 1 000, each in a process of its own.

python benchmarks/memory.py [--analysis accuracy fourier_sensitivity band_accuracy]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models/bands/mid.onnx"


ANALYSES = ("accuracy", "fourier_sensitivity", "band_accuracy")
BAR = 1.05


def peak(analysis: str, data: Path) -> float:
    """Peak resident megabytes of a process that runs ``analysis`` on ``data``."""
    done = subprocess.run(
        [sys.executable, __file__, "--analysis", analysis, "--measure", str(data)],
        capture_output=True,
        text=True,
        check=True,
    )
    megabytes: float = json.loads(done.stdout)
    return megabytes


def measure(analysis: str, data: Path) -> None:
    """Run ``analysis`` on ``data`` and print this process's peak memory in megabytes."""
    import specprobe

    images = specprobe.load_images(data)
    network = specprobe.load(MODEL, image_shape=images.image_shape)
    getattr(specprobe, analysis)(network, images)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def write(path: Path, images: int) -> None:
    """Noise images and labels, deflated."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, 32, 32, 3), dtype=np.uint8)
    np.savez_compressed(path, images=pixels, labels=rng.integers(0, 4, images))


def main() -> None:
    """Measure each and print the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--analysis", nargs="+", choices=ANALYSES, default=ANALYSES)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure is not None:
        measure(chosen.analysis[0], chosen.measure)
        return
    print(f"{'analysis':20s} {'1 000, MiB':>10s} {'10 000, MiB':>11s}  ratio (medians of 3)")
    with tempfile.TemporaryDirectory() as folder:
        data = {images: Path(folder) / f"{images}.npz" for images in (1000, 10_000)}
        for images, path in data.items():
            write(path, images)
        for analysis in chosen.analysis:
            few, many = (sorted(peak(analysis, path) for _ in range(3))[1] for path in data.values())
            met = "met" if many / few <= BAR else f"missed by {many / few - BAR:.3f}"
            print(f"{analysis:20s} {few:10.1f} {many:11.1f}  {many / few:.3f} (≤ {BAR} {met})")


if __name__ == "__main__":
    main()
