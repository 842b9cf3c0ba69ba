"""PGD and APGD against Foolbox and torchattacks: robust accuracy, the highest loss reached, and the attack's own time.

python benchmarks/attack_parity.py ASSETS [--models NAME=EPSILON ...] [--images 200] [--norm linf] [--attacks pgd apgd-ce]
python benchmarks/attack_parity.py ASSETS --climb [--images 100]

ASSETS is the folder of real models and images with its ``models.toml``. The other libraries attack the same network,
through onnxruntime, so both sides ask one and the same function; they are no dependencies of the project, and rows of
what is not installed say so.

``--climb`` gives PGD and APGD the same number of gradients and compares the highest loss that each reaches on an image.
"""

import argparse
import importlib.util
import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from square_parity import BATCH, Watched, fallen, module, opened  # beside this file

from specprobe.adapters.foolbox import foolbox_model
from specprobe.arrays import to_host
from specprobe.attacks.auto_projected_gradient import apgd
from specprobe.attacks.norms import threat_of
from specprobe.attacks.oracle import Oracle
from specprobe.attacks.projected_gradient import pgd
from specprobe.attacks.streams import Streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from specprobe.attacks.threat import Norm, Threat

MODELS = {
    "cifar10_ada_resnet4b_fgsm": Fraction(8, 255),
    "cifar10_ada_resnet4b_pgd": Fraction(8, 255),
    "cifar10_akamaster_resnet20": Fraction(1, 255),
    "mnist_eran_convsmall_pgdk": Fraction(1, 10),
}
PGD_STEPS, APGD_STEPS = 40, 100


class Highest(Oracle):
    """An oracle that remembers the highest loss of each image."""

    def gradient(self, images: Any, rows: "NDArray[Any]", /, **options: Any) -> Any:
        """As of the oracle."""
        if not hasattr(self, "losses"):
            self.losses = np.full(len(self), -np.inf)
        logits, losses, gradients = super().gradient(images, rows, **options)
        np.maximum.at(self.losses, rows, to_host(losses))
        return logits, losses, gradients


def our_pgd(network: Watched, threat: "Threat", clean: Any, labels: Any, seed: int) -> Any:
    """Candidates of this project's PGD; images that have fallen go on, as in Foolbox."""
    oracle = Oracle(network, clean, labels, np.arange(len(clean)), batch_size=BATCH)
    streams = Streams(seed, "pgd/0", oracle.index, like=clean)
    return pgd(oracle, threat, streams, steps=PGD_STEPS, early_stop=False)


def our_apgd(network: Watched, threat: "Threat", clean: Any, labels: Any, seed: int) -> Any:
    """Candidates of this project's APGD on the cross-entropy."""
    oracle = Oracle(network, clean, labels, np.arange(len(clean)), batch_size=BATCH)
    return apgd(oracle, threat, Streams(seed, "apgd/0", oracle.index, like=clean), steps=APGD_STEPS)


def foolbox_pgd(network: Watched, threat: "Threat", clean: Any, labels: Any, seed: int) -> Any:
    """Candidates of Foolbox, with the same step size: it keeps the last one."""
    import foolbox
    import torch

    torch.manual_seed(seed)
    kind = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD, "l1": foolbox.attacks.L1PGD}
    attack = kind[threat.norm](
        abs_stepsize=2.5 * threat.epsilon / PGD_STEPS, steps=PGD_STEPS, random_start=True
    )
    model, parts = foolbox_model(network), range(0, len(clean), BATCH)
    made = [
        attack(
            model,
            torch.tensor(clean[start : start + BATCH]),
            torch.tensor(labels[start : start + BATCH]),
            epsilons=threat.epsilon,
        )[1].numpy()
        for start in parts
    ]
    return np.concatenate(made)


def torchattacks_apgd(network: Watched, threat: "Threat", clean: Any, labels: Any, seed: int) -> Any:
    """Candidates of torchattacks, one restart."""
    import torch
    import torchattacks

    attack = torchattacks.APGD(
        module(network),
        norm={"linf": "Linf", "l2": "L2"}[threat.norm],
        eps=threat.epsilon,
        steps=APGD_STEPS,
        n_restarts=1,
        loss="ce",
        seed=seed,
    )
    return np.asarray(attack(torch.tensor(clean), torch.tensor(labels)).detach())


SIDES: "dict[str, dict[str, Callable[..., Any]]]" = {
    "pgd": {"specprobe": our_pgd, "foolbox": foolbox_pgd},
    "apgd-ce": {"specprobe": our_apgd, "torchattacks": torchattacks_apgd},
}


def compare(chosen: argparse.Namespace, name: str, threat: "Threat") -> None:
    """Print robust accuracies, and the time outside the network over that in it."""
    network, clean, labels = opened(chosen.assets, name, chosen.images)
    print(f"{name}  {threat.norm} {threat.epsilon:.5f}  clean {100 * len(clean) / chosen.images:.1f} %")
    for attack in chosen.attacks:
        for side, run in SIDES[attack].items():
            if side != "specprobe" and importlib.util.find_spec(side) is None:
                print(f"  {attack:8} {side:13} SKIPPED: not installed", flush=True)
                continue
            if side == "torchattacks" and threat.norm == "l1":
                print(f"  {attack:8} {side:13} SKIPPED: it has no l1", flush=True)
                continue
            standing, shares = [], []
            for seed in chosen.seeds:
                network.seconds, start = 0.0, time.perf_counter()
                adversarial = run(network, threat, clean, labels, seed)
                shares.append(network.seconds / (time.perf_counter() - start))
                left = ~fallen(network, threat, clean, labels, adversarial)
                standing.append(100 * left.sum() / chosen.images)
            values = " ".join(f"{value:5.1f}" for value in standing)
            share = f"   network's share of time {np.median(shares):.3f}" if side == "specprobe" else ""
            print(f"  {attack:8} {side:13} robust {values} %{share}", flush=True)


def compare_climbs(chosen: argparse.Namespace, name: str, threat: "Threat") -> None:
    """Print the mean of the highest losses of PGD and of APGD, from as many gradients of each image."""
    network, clean, labels = opened(chosen.assets, name, chosen.images)
    reached = []
    for attack, steps in ((pgd, APGD_STEPS + 1), (apgd, APGD_STEPS)):  # APGD's start has a gradient too
        oracle = Highest(network, clean, labels, np.arange(len(clean)), batch_size=BATCH)
        streams = Streams(0, "climb", oracle.index, like=clean)
        attack(oracle, threat, streams, steps=steps, early_stop=False)
        reached.append(oracle.losses)
    higher = np.mean(reached[1] >= reached[0])
    print(
        f"{name:28} {threat.norm} {threat.epsilon:.5f}  {APGD_STEPS + 1} gradients  mean highest loss: PGD "
        f"{reached[0].mean():.5f}, APGD {reached[1].mean():.5f}; APGD's is no lower on {100 * higher:.0f} % of images",
        flush=True,
    )


def named_radius(text: str) -> tuple[str, Fraction]:
    """Model and epsilon of one argument."""
    name, _, epsilon = text.partition("=")
    return name, Fraction(epsilon) if epsilon else MODELS[name]


def main() -> None:
    """Run the comparison that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("assets", type=Path)
    parser.add_argument("--models", nargs="+", type=named_radius, default=list(MODELS.items()))
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--norm", choices=("linf", "l2", "l1"), default="linf")
    parser.add_argument("--attacks", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--climb", action="store_true", help="losses of PGD and APGD instead of parity")
    chosen = parser.parse_args()
    norm: Norm = chosen.norm
    for name, epsilon in chosen.models:
        (compare_climbs if chosen.climb else compare)(chosen, name, threat_of(norm, float(epsilon)))


if __name__ == "__main__":
    main()
