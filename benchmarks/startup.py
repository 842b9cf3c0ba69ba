"""Seconds that a person waits: ``specprobe --help``, and ``inspect`` of a ResNet-50 without data.

python benchmarks/startup.py
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from specprobe.testing.light import he_initialised, light_models

RUNS = 5


def seconds(*words: str) -> float:
    """Median wall time of a process, after one run to warm the file cache."""
    times = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> None:
    """Measure and print."""
    tool = str(Path(sys.executable).parent / "specprobe")
    empty = seconds(sys.executable, "-c", "pass")
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "resnet50.onnx"
        he_initialised(light_models()["resnet50"], model)
        rows = {
            "specprobe --help": seconds(tool, "--help"),
            "specprobe inspect resnet50.onnx": seconds(tool, "inspect", str(model)),
        }
    print(f"median of {RUNS}; an empty Python takes {empty:.3f} s")
    for name, value in rows.items():
        print(f"{name:34s} {value:.3f} s   {value / empty:5.1f} × an empty Python")


if __name__ == "__main__":
    main()
