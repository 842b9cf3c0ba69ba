"""Train twins of the normal digits network: with four augmentations, and of three other architectures.

``python models/digits/twins.py`` writes ``noise.onnx``, ``low_pass.onnx``, ``scale.onnx``, ``rotation.onnx``,
``wide.onnx``, ``mlp.onnx``, ``attention.onnx`` and ``SHA256SUMS`` beside itself and prints the measured accuracies.
Images, order of the batches, shifts and schedule are those of ``recipe.py``. Needs the same packages.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import recipe
import torch
from torch import Tensor, nn

sys.path.append(str(Path(__file__).resolve().parents[1]))

import augmentations

EPSILONS = (0.02, 0.05, 0.1)
TOKENS = 16
WIDTH = 48
HEADS = 4


class Twin(NamedTuple):
    """What is different from the normal network."""

    untrained: Callable[[], nn.Sequential] = recipe.digit_network
    augmentation: recipe.Augmentation | None = None


class Tokens(nn.Module):
    """(N, 48, 4, 4) patches to (N, 16, 48) tokens, each with a learned position."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(0.02 * torch.randn(1, TOKENS, WIDTH))

    def forward(self, patches: Tensor) -> Tensor:
        return patches.flatten(2).transpose(1, 2) + self.position


class Block(nn.Module):
    """Self-attention, then two dense layers, each on normalised tokens and added to them."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(WIDTH)
        self.project = nn.Linear(WIDTH, 3 * WIDTH)
        self.combine = nn.Linear(WIDTH, WIDTH)
        self.dense = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        heads = self.project(self.before_attention(tokens)).reshape(-1, TOKENS, 3, HEADS, WIDTH // HEADS)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (query @ key.transpose(-2, -1) / (WIDTH // HEADS) ** 0.5).softmax(dim=-1)
        mixed = (weights @ value).transpose(1, 2).reshape(-1, TOKENS, WIDTH)
        attended = tokens + self.combine(mixed)
        added: Tensor = attended + self.dense(attended)
        return added


class MeanToken(nn.Module):
    """(N, 16, 48) tokens to their mean."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.mean(dim=1)


def wide_network() -> nn.Sequential:
    """The normal network with twice the channels: 89,578 parameters."""
    return nn.Sequential(
        recipe.Normalise(0.31, 0.33),
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 96, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(96 * (recipe.SIZE // 4) ** 2, 10),
    )


def dense_network() -> nn.Sequential:
    """Three dense layers, which know nothing of neighbours: 75,338 parameters."""
    return nn.Sequential(
        recipe.Normalise(0.31, 0.33),
        nn.Flatten(),
        nn.Linear(recipe.SIZE**2, 192),
        nn.ReLU(),
        nn.Linear(192, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def attention_network() -> nn.Sequential:
    """A vision transformer: 16 patches of 4x4 pixels, two blocks with four heads: 40,090 parameters."""
    return nn.Sequential(
        recipe.Normalise(0.31, 0.33),
        nn.Conv2d(1, WIDTH, 4, stride=4),
        Tokens(),
        Block(),
        Block(),
        nn.LayerNorm(WIDTH),
        MeanToken(),
        nn.Linear(WIDTH, 10),
    )


TWINS = {
    "noise": Twin(augmentation=partial(augmentations.noise, largest=0.2)),
    "low_pass": Twin(augmentation=partial(augmentations.low_pass, cutoff=3.0)),
    "scale": Twin(augmentation=partial(augmentations.scale, factors=(0.7, 1.3), around="constant")),
    "rotation": Twin(augmentation=partial(augmentations.rotation, degrees=30.0, around="constant")),
    "wide": Twin(wide_network),
    "mlp": Twin(dense_network),
    "attention": Twin(attention_network),
}


def main() -> None:
    """Train, measure, export."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write")
    parser.add_argument(
        "--seed",
        type=int,
        default=recipe.SEED,
        help="of the weights, the order of the images and what augments them; another one than the "
        "default also makes the normal network anew",
    )
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    options.out.mkdir(parents=True, exist_ok=True)
    pixels, targets = recipe.digit_images()
    training, held_out = recipe.split(len(pixels))
    seen, seen_labels = recipe.as_tensor(pixels[training]), torch.from_numpy(targets[training])
    images, labels = recipe.as_tensor(pixels[held_out]), torch.from_numpy(targets[held_out])

    base = {} if options.seed == recipe.SEED else {"normal": Twin()}
    print("| twin | parameters | clean |", " | ".join(f"{e:.2f}" for e in EPSILONS), "|")
    print("|---" * (len(EPSILONS) + 3) + "|")
    for name, twin in (base | TWINS).items():
        network = recipe.train(
            seen,
            seen_labels,
            untrained=twin.untrained,
            augmentation=twin.augmentation,
            seed=options.seed,
        )
        logits = recipe.export(network, options.out / f"{name}.onnx", images)
        row = [float((logits.argmax(1) == targets[held_out]).mean())]
        row += [recipe.accuracy_under_pgd(network, images, labels, epsilon=e) for e in EPSILONS]
        parameters = sum(p.numel() for p in network.parameters())
        print(f"| {name} | {parameters:,} |", " | ".join(f"{a:.3f}" for a in row), "|", flush=True)
    recipe.write_checksums(options.out)


if __name__ == "__main__":
    main()
