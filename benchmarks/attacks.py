"""PGD on an ONNX file over Foolbox's on the same network in PyTorch, and how much of it the runtime takes.

python benchmarks/attacks.py MODEL.onnx DATA.npz --mean ... --std ... [--images 200] [--rounds 3]

MODEL is a residual network, written down in PyTorch operator by operator, as in ``spectral.py``. Both sides take 40 steps
of the same size from a random start, in the same batches, on the same threads; Foolbox runs PyTorch in eager mode, its
own fastest way on a CPU. Foolbox never lets an image go that has fallen, so ours is measured both with and without doing
so: the bar is for the latter, in which both evaluate the same. Needs ``torch`` and ``foolbox``.
"""

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gradient import judged, limit_torch  # type: ignore[import-not-found] # beside this file
from spectral import eager_network  # type: ignore[import-not-found] # beside this file
from square_parity import Watched  # type: ignore[import-not-found] # beside this file

import specprobe
from specprobe.attacks.norms import threat_of
from specprobe.attacks.oracle import Oracle
from specprobe.attacks.projected_gradient import pgd
from specprobe.attacks.streams import Streams
from specprobe.recipe import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = 40
EPSILON = 8 / 255
STEP_SIZE = EPSILON / 4
OVER_FOOLBOX = 0.7
"""Our seconds over Foolbox's, at most."""
IN_RUNTIME = 0.9
"""Share of the time in which the network runs, at least."""


def main() -> None:
    """Print seconds, ratio and share."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--mean", type=float, nargs="*", default=[0.0])
    parser.add_argument("--std", type=float, nargs="*", default=[1.0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=50)
    chosen = parser.parse_args()
    source = specprobe.load_images(chosen.data, limit=chosen.images)
    recipe = Preprocessing(mean=tuple(chosen.mean), std=tuple(chosen.std))
    network = Watched(
        specprobe.load(
            chosen.model, preprocessing=recipe, image_shape=source.image_shape, threads=chosen.threads
        )
    )
    batch = source.read(0, source.images)
    images, labels = np.ascontiguousarray(batch.images), batch.labels
    assert labels is not None

    def ours(*, early_stop: bool) -> Any:
        rows = np.arange(len(labels))
        oracle = Oracle(network, images, labels, rows, batch_size=chosen.batch)
        streams = Streams(0, "pgd/0", rows, like=images)
        return pgd(
            oracle,
            threat_of("linf", EPSILON),
            streams,
            steps=STEPS,
            step_size=STEP_SIZE,
            early_stop=early_stop,
        )

    theirs = _foolbox(chosen, images, labels)
    runs: dict[str, Callable[[], Any]] = {
        "ours, all steps": lambda: ours(early_stop=False),
        "ours, early stop": lambda: ours(early_stop=True),
        "foolbox": theirs,
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    shares: dict[str, list[float]] = {name: [] for name in runs}
    left: dict[str, float] = {}
    for run in runs.values():
        run()  # sessions, arenas, thread pools
    for _ in range(chosen.rounds):
        for name, run in runs.items():
            network.seconds = 0.0
            time.sleep(0.05)
            start = time.perf_counter()
            adversarial = np.asarray(run())
            seconds[name].append(time.perf_counter() - start)
            shares[name].append(network.seconds / seconds[name][-1])
            answers = np.asarray(network.logits(adversarial)).argmax(axis=1)
            left[name] = float((answers == labels).mean())
    print(
        f"PGD, {STEPS} steps, {len(labels)} images, batch {chosen.batch}, {chosen.threads} threads, medians of {chosen.rounds}"
    )
    for name in runs:
        share = "" if name == "foolbox" else f", {statistics.median(shares[name]):.3f} of it in the network"
        print(
            f"  {name:18s} {statistics.median(seconds[name]):7.2f} s, accuracy left {left[name]:.3f}{share}"
        )
    ratio = statistics.median(
        a / b for a, b in zip(seconds["ours, all steps"], seconds["foolbox"], strict=True)
    )
    print(f"  ours, all steps, over Foolbox {judged(ratio, at_most=OVER_FOOLBOX)}")
    print(f"  in the network {judged(statistics.median(shares['ours, all steps']), at_least=IN_RUNTIME)}")


def _foolbox(chosen: argparse.Namespace, images: Any, labels: Any) -> "Callable[[], Any]":
    """Foolbox's attack on the network in PyTorch, in batches."""
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import foolbox
    import torch

    limit_torch(chosen.threads)
    network = eager_network(chosen.model, chosen.mean, chosen.std)

    class Module(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return network(x)

    model = foolbox.PyTorchModel(Module().eval(), bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(steps=STEPS, abs_stepsize=STEP_SIZE, random_start=True)
    parts = [
        (torch.from_numpy(images[i : i + chosen.batch]), torch.from_numpy(labels[i : i + chosen.batch]))
        for i in range(0, len(labels), chosen.batch)
    ]

    def run() -> Any:
        return torch.cat([attack(model, x, y, epsilons=EPSILON)[1] for x, y in parts]).numpy()

    return run


if __name__ == "__main__":
    main()
