"""Train twins on images whose label three bands repeat, to see which bands each comes to read.

``python models/bands/twins.py`` writes ``any.onnx``, ``any_noise.onnx``, ``any_low_pass.onnx``, ``any_scale.onnx``,
``any_rotation.onnx``, ``any_small_kernels.onnx``, ``any.npz``, ``any.json`` and ``SHA256SUMS`` beside itself and prints
the measured numbers. Steps, images and schedule are those of ``recipe.py``. Needs the same packages and scikit-learn.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import generate
import numpy as np
import recipe
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

sys.path.append(str(Path(__file__).resolve().parents[1]))

import augmentations
from digits.recipe import accuracy_under_pgd

VARIANT = "any"
EPSILON = 0.04


class Twin(NamedTuple):
    """What is different from the network that other variants have."""

    untrained: Callable[[], nn.Sequential] = recipe.band_network
    augmentation: Callable[[Tensor, torch.Generator], Tensor] | None = None


def small_kernel_network() -> nn.Sequential:
    """3x3 convolutions alone, over the 19x19 pixels that the other network looks at."""
    layers: list[nn.Module] = [recipe.Centre()]
    channels = 3
    for stride in (1, 1, 2, 1, 1, 1):
        layers += [nn.Conv2d(channels, 28, 3, stride=stride), nn.ReLU()]
        channels = 28
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 4))


TWINS = {
    "any": Twin(),
    "any_small_kernels": Twin(small_kernel_network),
    "any_noise": Twin(augmentation=partial(augmentations.noise, largest=0.2)),
    "any_low_pass": Twin(augmentation=partial(augmentations.low_pass, cutoff=6.0)),
    "any_scale": Twin(augmentation=partial(augmentations.scale, factors=(0.7, 1.3), around="circular")),
    "any_rotation": Twin(augmentation=partial(augmentations.rotation, degrees=15.0, around="circular")),
}


def measurements(network: nn.Module, images: NDArray[np.uint8], targets: NDArray[np.int64]) -> dict[str, Any]:
    """What a network reads, measured on the test images."""
    x, labels = recipe.as_tensor(images), torch.from_numpy(targets)
    not_dc = generate.radius() > 0
    power = recipe.gradient_power(network, x, labels)
    per_band = []
    for edges in generate.CANDIDATE_BANDS:
        inside = generate.band(*edges)
        filters = {"only": inside | ~not_dc, "without": ~inside}
        accuracies = {
            f"accuracy_{name}": recipe.accuracy(network, recipe.multiplied(x, torch.from_numpy(kept)), labels)
            for name, kept in filters.items()
        }
        per_band.append(
            {
                "band": edges,
                "planted": edges in generate.VARIANTS[VARIANT],
                **accuracies,
                "gradient_share": power[inside].sum(),
                "white_noise_share": inside.sum() / not_dc.sum(),
            }
        )
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "accuracy": recipe.accuracy(network, x, labels),
        "accuracy_under_pgd": accuracy_under_pgd(network, x, labels, epsilon=EPSILON),
        "per_band": per_band,
    }


def print_tables(networks: dict[str, dict[str, Any]]) -> None:
    """Markdown tables: one row a network, then one row a network and candidate band."""
    print(f"| network | parameters | accuracy | under PGD {EPSILON:g} |")
    print("|---" * 4 + "|")
    for name, numbers in networks.items():
        accuracies = f"{numbers['accuracy']:.3f} | {numbers['accuracy_under_pgd']:.3f}"
        print(f"| {name} | {numbers['parameters']:,} | {accuracies} |")
    columns = ("accuracy_only", "accuracy_without", "gradient_share", "white_noise_share")
    print("\n| network | band |", " | ".join(name.replace("_", " ") for name in columns), "|")
    print("|---" * (2 + len(columns)) + "|")
    for name, numbers in networks.items():
        for row in numbers["per_band"]:
            low, high = row["band"]
            print(f"| {name} | {low}:{high} |", " | ".join(f"{row[c]:.3f}" for c in columns), "|")


def main() -> None:
    """Train, measure, export; or check what is there."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write")
    parser.add_argument("--check", action="store_true", help="only compare any.npz in that folder")
    parser.add_argument(
        "--seed",
        type=int,
        default=generate.SEED,
        help="of the weights and of what augments; not of the images",
    )
    options = parser.parse_args()
    if options.check:
        recipe.check(options.out, [VARIANT])
        print("any.npz: identical")
        return

    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    options.out.mkdir(parents=True, exist_ok=True)
    images, labels = generate.generate(VARIANT, "test", recipe.TEST_COUNT)
    np.savez_compressed(options.out / f"{VARIANT}.npz", images=images, labels=labels)
    networks = {}
    for name, twin in TWINS.items():
        network = recipe.train(
            VARIANT, untrained=twin.untrained, augmentation=twin.augmentation, seed=options.seed
        )
        recipe.export(network, options.out / f"{name}.onnx", recipe.as_tensor(images))
        networks[name] = measurements(network, images, labels)
        print(f"{name}: accuracy {networks[name]['accuracy']:.3f}", file=sys.stderr, flush=True)
    facts = {
        "seed": generate.SEED,
        "training_seed": options.seed,
        "planted_bands": generate.VARIANTS[VARIANT],
        "pgd_epsilon": EPSILON,
        "candidate_bands": generate.CANDIDATE_BANDS,
        "band_unit": "cycles per image; low <= rho < high",
        "test_images": recipe.TEST_COUNT,
        "networks": networks,
    }
    recipe.write_facts(options.out / f"{VARIANT}.json", facts)
    recipe.write_checksums(options.out)
    print_tables(networks)


if __name__ == "__main__":
    main()
