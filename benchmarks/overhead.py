"""Wall time of the streamed accuracy over that of bare onnxruntime on the same batches, same threads.

python benchmarks/overhead.py [MODEL.onnx DATA.npz] [--rounds 7]
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

import specprobe
from specprobe.recipe import Preprocessing
from specprobe.runtime.device import available_threads
from specprobe.streaming import SHARD_IMAGES, shards

ROOT = Path(__file__).resolve().parent.parent
BATCH = 32


def main() -> None:
    """Interleave both, print the medians' ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default=ROOT / "models/bands/mid.onnx", type=Path)
    parser.add_argument("data", nargs="?", default=ROOT / "models/bands/mid.npz", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--mean", type=float, nargs="*", default=[0.0])
    parser.add_argument("--std", type=float, nargs="*", default=[1.0])
    chosen = parser.parse_args()
    images = specprobe.load_images(chosen.data)
    recipe = Preprocessing(mean=tuple(chosen.mean), std=tuple(chosen.std))
    network = specprobe.load(chosen.model, preprocessing=recipe, image_shape=images.image_shape)
    bare = _bare_session(chosen.model)
    name = bare.get_inputs()[0].name
    pixels = np.concatenate([images.read(*shard).images for shard in shards(images.images)])
    shape = (1, -1, 1, 1)
    ready = (pixels - np.reshape(chosen.mean, shape)) / np.reshape(chosen.std, shape)
    ready = ready.astype(np.float32)
    batches = [ready[i : i + BATCH] for i in range(0, len(ready), BATCH)]
    ours, theirs = [], []
    for _ in range(chosen.rounds):
        start = time.perf_counter()
        specprobe.accuracy(network, images, batch_size=BATCH)
        middle = time.perf_counter()
        for batch in batches:
            bare.run(None, {name: batch})
        ours.append(middle - start)
        theirs.append(time.perf_counter() - middle)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    print(f"{chosen.model.name}, {images.images} images, batch {BATCH}, shards of {SHARD_IMAGES}, ", end="")
    print(f"{available_threads()} threads, {chosen.rounds} rounds interleaved")
    print(f"streamed accuracy (reading and digests included)  {statistics.median(ours):.4f} s")
    print(f"bare onnxruntime (images ready in memory)         {statistics.median(theirs):.4f} s")
    print(f"ratio, median of pairs                            {statistics.median(ratios):.3f}")


def _bare_session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = available_threads()
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
