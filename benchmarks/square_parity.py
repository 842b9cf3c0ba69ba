"""Square attack and FAB-T against torchattacks: robust accuracy, distances, and the attack's own share of the time.

python benchmarks/square_parity.py ASSETS [--models NAME ...] [--images 200] [--queries 500] [--norm linf] [--epsilon 8/255]
python benchmarks/square_parity.py ASSETS --fab [--images 50] [--steps 20] [--norm linf]

ASSETS is the folder of real models and images with its ``models.toml``. torchattacks attacks the same network, through
onnxruntime, so both sides ask one and the same function; it is no dependency of the project and has to be installed.
"""

import argparse
import time
import tomllib
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import specprobe
from specprobe.attacks.minimal_norm import fab_targeted
from specprobe.attacks.norms import threat_of
from specprobe.attacks.oracle import Oracle
from specprobe.attacks.square import square
from specprobe.attacks.streams import Streams
from specprobe.recipe import Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.attacks.threat import Norm, Threat
    from specprobe.protocols import DifferentiableClassifier

MODELS = ("cifar10_ada_resnet4b_fgsm", "cifar10_ada_resnet4b_pgd", "cifar10_ada_resnet4b_standard")
_THEIR_NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
BATCH = 64


class Watched:
    """A classifier that knows the time spent in it and the images it was asked about."""

    def __init__(self, classifier: "DifferentiableClassifier") -> None:
        self.classifier, self.classes = classifier, classifier.classes
        self.seconds, self.images = 0.0, 0

    def logits(self, images: Any, /) -> Any:
        """Logits, with the time they take."""
        return self._timed(self.classifier.logits, images)

    def vjp(self, images: Any, cotangent: Any, /) -> Any:
        """Vector-Jacobian product, with the time it takes."""
        return self._timed(self.classifier.vjp, images, cotangent)

    def gradient(self, images: Any, labels: Any, /, **options: Any) -> Any:
        """Gradient of a loss, with the time it takes."""
        return self._timed(self.classifier.gradient, images, labels, **options)

    def logits_and_gradient(self, images: Any, labels: Any, /, **options: Any) -> Any:
        """Both in one run."""
        return self._timed(self.classifier.logits_and_gradient, images, labels, **options)  # type: ignore[attr-defined]

    def logits_and_vjp(self, images: Any, cotangent: Any, /) -> Any:
        """Both in one run."""
        return self._timed(self.classifier.logits_and_vjp, images, cotangent)  # type: ignore[attr-defined]

    def _timed(self, call: Any, images: Any, *rest: Any, **options: Any) -> Any:
        start = time.perf_counter()
        made = call(images, *rest, **options)
        self.seconds += time.perf_counter() - start
        self.images += images.shape[0]
        return made


def opened(assets: Path, name: str, images: int) -> "tuple[Watched, NDArray[Any], NDArray[Any]]":
    """A network and those of the first images of its data that it classifies right."""
    tables = tomllib.loads((assets / "models.toml").read_text())["model"]
    table = next(entry for entry in tables if entry["name"] == name)
    source = specprobe.load_images(assets / "data" / table["data"])
    recipe = Preprocessing(mean=tuple(table["mean"]), std=tuple(table["std"]))
    network = Watched(
        specprobe.load(assets / table["file"], preprocessing=recipe, image_shape=source.image_shape)
    )
    batch = source.read(0, images)
    pixels, labels = np.asarray(batch.images, np.float32), np.asarray(batch.labels)
    oracle = Oracle(network, pixels, labels, np.arange(images), batch_size=BATCH)
    right = ~oracle.fooled(oracle.logits(pixels, np.arange(images)), np.arange(images))
    network.seconds, network.images = 0.0, 0
    return network, pixels[right], labels[right]


def module(network: Watched) -> Any:
    """The network as a PyTorch module, differentiable through its own gradient graph."""
    import torch

    class Run(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, images: Any) -> Any:
            context.save_for_backward(images)
            parts = [network.logits(part.detach().contiguous()) for part in images.split(BATCH)]
            return torch.cat(parts).clone()

        @staticmethod
        def backward(context: Any, cotangent: Any) -> Any:
            (images,) = context.saved_tensors
            pairs = zip(images.split(BATCH), cotangent.split(BATCH), strict=True)
            return torch.cat([network.vjp(x.detach().contiguous(), c.contiguous()) for x, c in pairs])

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place = torch.nn.Parameter(torch.zeros(1))  # torchattacks asks parameters for the device

        def forward(self, images: Any) -> Any:
            return Run.apply(images)

    return Module().eval()


def fallen(
    network: Watched, threat: "Threat", clean: Any, labels: Any, adversarial: Any
) -> "NDArray[np.bool_]":
    """Whether images are of another class inside the ball, found anew."""
    rows = np.arange(len(clean))
    oracle = Oracle(network, clean, labels, rows, batch_size=BATCH)
    sizes = threat.size(adversarial - clean)
    return oracle.fooled(oracle.logits(adversarial, rows), rows) & (
        sizes <= threat.epsilon * (1 + 1e-5) + 1e-7
    )


def our_square(
    network: Watched, threat: "Threat", clean: Any, labels: Any, queries: int, seed: int
) -> "NDArray[Any]":
    """Candidates of this project."""
    oracle = Oracle(network, clean, labels, np.arange(len(clean)), batch_size=BATCH)
    made = square(oracle, threat, Streams(seed, "square/0", oracle.index, like=clean), queries=queries)
    return np.asarray(made)


def their_square(
    network: Watched, threat: "Threat", clean: Any, labels: Any, queries: int, seed: int
) -> "NDArray[Any]":
    """Candidates of torchattacks, with margin loss and as many queries: it does not count the first one."""
    import torch
    import torchattacks

    attack = torchattacks.Square(
        module(network),
        norm=_THEIR_NORMS[threat.norm],
        eps=threat.epsilon,
        n_queries=queries - 1,
        loss="margin",
        resc_schedule=True,
        seed=seed,
    )
    return np.asarray(attack(torch.tensor(clean), torch.tensor(labels)))


def compare_square(chosen: argparse.Namespace, threat: "Threat") -> None:
    """Print robust accuracies, and the time outside the network over that in it."""
    print(
        f"Square, {threat.norm} {threat.epsilon:.5g}, {chosen.queries} queries, {chosen.images} images, ",
        end="",
    )
    print("robust accuracy in points of 100, seeds " + " ".join(map(str, chosen.seeds)))
    for name in chosen.models:
        network, clean, labels = opened(chosen.assets, name, chosen.images)
        print(f"{name:32} clean {100 * len(clean) / chosen.images:5.1f}", flush=True)
        for side, run in (("specprobe", our_square), ("torchattacks", their_square)):
            if side == "torchattacks" and threat.norm == "l1":
                continue
            standing, overheads = [], []
            for seed in chosen.seeds:
                network.seconds, network.images, start = 0.0, 0, time.perf_counter()
                adversarial = run(network, threat, clean, labels, chosen.queries, seed)
                overheads.append((time.perf_counter() - start) / network.seconds - 1)
                left = ~fallen(network, threat, clean, labels, adversarial)
                standing.append(100 * left.sum() / chosen.images)
            values = " ".join(f"{value:5.1f}" for value in standing)
            print(f"  {side:14} {values}   own time ÷ network's {np.median(overheads):.3f}", flush=True)


def compare_fab(chosen: argparse.Namespace, threat: "Threat") -> None:
    """Print the ratio of distances, ours over theirs, of images that both sides turn.

    Towards the class of the second largest logit alone: torchattacks goes on to the next target only where an image was
    not turned inside the ball, gives back nothing beyond it, and does not know l1.
    """
    import torch
    import torchattacks

    for name in chosen.models:
        network, clean, labels = opened(chosen.assets, name, chosen.images)
        rows = np.arange(len(clean))
        oracle = Oracle(network, clean, labels, rows, batch_size=BATCH)
        network.seconds, start = 0.0, time.perf_counter()
        streams = Streams(0, "fab-t/0", rows, like=clean)
        ours = fab_targeted(oracle, threat, streams, steps=chosen.steps, targets=1, early_stop=False)
        overhead = (time.perf_counter() - start) / network.seconds - 1
        attack = torchattacks.FAB(
            module(network),
            norm=_THEIR_NORMS[threat.norm],
            eps=1e6,
            steps=chosen.steps,
            n_restarts=1,
            multi_targeted=True,
            n_classes=2,
        )
        theirs = np.asarray(attack(torch.tensor(clean), torch.tensor(labels)))
        sizes = [np.asarray(threat.size(side - clean)) for side in (ours, theirs)]
        turned = [oracle.fooled(oracle.logits(side, rows), rows) for side in (ours, theirs)]
        ratio = (sizes[0] / np.where(turned[1], sizes[1], 1))[turned[0] & turned[1]]
        print(
            f"{name:32} FAB-T {threat.norm} {chosen.steps} steps: turned {turned[0].sum()} and {turned[1].sum()} of "
            f"{len(rows)}, median distance {np.median(sizes[0][turned[0]]):.5f} and {np.median(sizes[1][turned[1]]):.5f}, "
            f"ratio median {np.median(ratio):.4f}, quartiles {np.quantile(ratio, 0.25):.4f} "
            f"{np.quantile(ratio, 0.75):.4f}, own time ÷ network's {overhead:.3f}",
            flush=True,
        )


def main() -> None:
    """Run the comparison that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("assets", type=Path)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--norm", choices=("linf", "l2", "l1"), default="linf")
    parser.add_argument("--epsilon", type=Fraction, default=Fraction(8, 255))
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--fab", action="store_true", help="distances of FAB-T instead of Square")
    parser.add_argument("--steps", type=int, default=20)
    chosen = parser.parse_args()
    norm: Norm = chosen.norm
    if chosen.fab and norm == "l1":
        parser.error("torchattacks has FAB for linf and l2 alone")
    threat = threat_of(norm, float(chosen.epsilon))
    (compare_fab if chosen.fab else compare_square)(chosen, threat)


if __name__ == "__main__":
    main()
