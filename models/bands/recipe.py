"""Train one small network per variant of the band images and measure what it reads.

``python models/bands/recipe.py`` writes ``<variant>.onnx``, ``<variant>.npz``, ``bands.json`` and
``SHA256SUMS`` beside itself and prints the measured numbers. Needs torch, onnx and onnxruntime;
the images come from ``generate.py``, which needs NumPy alone.
"""

import argparse
import hashlib
import json
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import generate
import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

TEST_COUNT = 500
STEPS = 1500
BATCH_SIZE = 64
MASK_STEPS = 150
MASK_PENALTY = 1.0


class Centre(nn.Module):
    """Pixels in [0, 1] to [-0.5, 0.5], as a part of the network."""

    middle: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("middle", torch.tensor(0.5))

    def forward(self, images: Tensor) -> Tensor:
        return images - self.middle


def band_network() -> nn.Sequential:
    """The untrained network: (N, 3, 32, 32) pixels in [0, 1] to (N, 4) logits."""
    return nn.Sequential(
        Centre(),
        # Frequency resolution is 32 / 15 cycles per image: a smaller kernel cannot tell bands apart
        # before the first ReLU mixes them.
        nn.Conv2d(3, 32, 15, stride=2),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 4),
    )


def as_tensor(images: NDArray[np.uint8]) -> Tensor:
    """NHWC bytes to NCHW float32 in [0, 1]."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)


@lru_cache(maxsize=STEPS)
def training_batch(variant: str, step: int) -> tuple[NDArray[np.uint8], Tensor]:
    """Images of one step of the training, and their labels."""
    images, labels = generate.generate(variant, "train", BATCH_SIZE, start=step * BATCH_SIZE)
    return images, torch.from_numpy(labels)


def train(
    variant: str,
    *,
    untrained: Callable[[], nn.Sequential] = band_network,
    augmentation: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    seed: int = generate.SEED,
) -> nn.Sequential:
    """The network of a variant, trained on images of which it sees each one once."""
    torch.manual_seed(seed)
    augmenting = torch.Generator().manual_seed(seed + 1)
    network = untrained()
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=STEPS)
    for step in range(STEPS):
        pixels, labels = training_batch(variant, step)
        images = as_tensor(pixels)
        if augmentation is not None:
            images = augmentation(images, augmenting)
        # Without smoothing the logits grow until float32 input gradients are rounding noise.
        loss = functional.cross_entropy(network(images), labels, label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def multiplied(images: Tensor, mask: Tensor) -> Tensor:
    """Images whose FFT is multiplied by a real mask of shape (32, 32), not clipped."""
    return torch.fft.ifft2(torch.fft.fft2(images) * mask).real


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images whose largest logit is the label's."""
    with torch.no_grad():
        return float((network(images).argmax(1) == labels).float().mean())


def gradient_power(network: nn.Module, images: Tensor, labels: Tensor) -> NDArray[np.float64]:
    """Mean over images of the normalised power of the cross-entropy's input gradient.

    Shape (32, 32), DC at [0, 0] and left out: each image's power is averaged over channels and
    divided by its sum, so the result sums to 1.
    """
    images = images.clone().requires_grad_()
    loss = functional.cross_entropy(network(images), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, images)
    power = (np.abs(np.fft.fft2(gradient.double().numpy(), norm="ortho")) ** 2).mean(1)
    power[:, 0, 0] = 0
    shares: NDArray[np.float64] = (power / power.sum((1, 2), keepdims=True)).mean(0)
    return shares


def learned_mask(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Smallest mask in [0, 1], shape (32, 32), that leaves each image's cross-entropy as it is.

    References
    ----------
    .. [1] Karantzas et al., "Understanding robustness and generalization of artificial neural
       networks through Fourier masks", Frontiers in Artificial Intelligence 5, 2022.
       arXiv:2203.08822
    """
    with torch.no_grad():
        unmasked = functional.cross_entropy(network(images), labels, reduction="none")
    mask = torch.ones(generate.SIZE, generate.SIZE, requires_grad=True)
    optimiser = torch.optim.Adam([mask], 0.05)
    for _ in range(MASK_STEPS):
        masked = functional.cross_entropy(network(multiplied(images, mask)), labels, reduction="none")
        optimiser.zero_grad()
        loss = (masked - unmasked).square().exp().mean() + MASK_PENALTY * mask.mean()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            mask.clamp_(0, 1)
    return mask.detach()


def measurements(
    network: nn.Module, variant: str, images: NDArray[np.uint8], targets: NDArray[np.int64]
) -> dict[str, Any]:
    """What the network of a variant reads, measured on its test images."""
    x, labels = as_tensor(images), torch.from_numpy(targets)
    planted, not_dc = generate.planted(variant), generate.radius() > 0
    power = gradient_power(network, x, labels)
    mask = learned_mask(network, x, labels)
    mask_energy = mask.double().numpy() ** 2
    per_band = []
    for edges in generate.CANDIDATE_BANDS:
        inside = generate.band(*edges)
        without = accuracy(network, multiplied(x, torch.from_numpy(~inside)), labels)
        per_band.append(
            {
                "band": edges,
                "planted": edges in generate.PLANTED_BANDS[variant],
                "gradient_share": power[inside].sum(),
                "white_noise_share": inside.sum() / not_dc.sum(),
                "accuracy_without": without,
            }
        )
    return {
        "accuracy": accuracy(network, x, labels),
        "accuracy_without_planted": accuracy(network, multiplied(x, torch.from_numpy(~planted)), labels),
        "accuracy_planted_only": accuracy(
            network, multiplied(x, torch.from_numpy(planted | ~not_dc)), labels
        ),
        "gradient_share_planted": power[planted].sum(),
        "white_noise_share_planted": planted.sum() / not_dc.sum(),
        "mask_energy_share_planted": mask_energy[planted].sum() / mask_energy[not_dc].sum(),
        "mask_accuracy": accuracy(network, multiplied(x, mask), labels),
        "per_band": per_band,
    }


def export(network: nn.Module, path: Path, example: Tensor) -> None:
    """Write an ONNX file.

    Raises
    ------
    ValueError
        If a logit of onnxruntime is more than 1e-4 off that of torch.
    """
    torch.onnx.export(
        network,
        (example,),
        path,
        opset_version=18,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
        dynamo=False,
    )
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits = session.run(["logits"], {"image": example.numpy()})[0]
    difference = np.abs(logits - network(example).detach().numpy()).max()
    if difference > 1e-4:
        msg = f"{path.name}: logits of onnxruntime and torch differ by {difference:.1e}"
        raise ValueError(msg)


def print_tables(variants: dict[str, dict[str, Any]]) -> None:
    """Markdown tables: one row a variant, then one row a variant and candidate band."""
    columns = [
        "accuracy",
        "accuracy_planted_only",
        "accuracy_without_planted",
        "gradient_share_planted",
        "white_noise_share_planted",
        "mask_energy_share_planted",
        "mask_accuracy",
    ]
    print("| variant |", " | ".join(name.replace("_", " ") for name in columns), "|")
    print("|---" * (len(columns) + 1) + "|")
    for variant, numbers in variants.items():
        print(f"| {variant} |", " | ".join(f"{numbers[name]:.3f}" for name in columns), "|")
    print("\n| variant | band | planted | gradient share | white noise | ratio | accuracy without |")
    print("|---" * 7 + "|")
    for variant, numbers in variants.items():
        for row in numbers["per_band"]:
            low, high = row["band"]
            share, white = row["gradient_share"], row["white_noise_share"]
            print(
                f"| {variant} | {low}:{high} | {'yes' if row['planted'] else ''} | {share:.4f} "
                f"| {white:.4f} | {share / white:.2f} | {row['accuracy_without']:.3f} |"
            )


def check(folder: Path, variants: Iterable[str] = generate.PLANTED_BANDS) -> None:
    """Raise ValueError unless each test part in a folder is the one that its seed makes."""
    for variant in variants:
        images, labels = generate.generate(variant, "test", TEST_COUNT)
        with np.load(folder / f"{variant}.npz") as shipped:
            for name, expected in (("images", images), ("labels", labels)):
                actual = shipped[name]
                if actual.dtype != expected.dtype or not np.array_equal(actual, expected):
                    msg = f"{variant}.npz: {name} differ from those of seed {generate.SEED}"
                    raise ValueError(msg)


def write_facts(path: Path, facts: dict[str, Any]) -> None:
    """JSON, numbers to four digits."""
    path.write_text(json.dumps(_rounded(facts), indent=2) + "\n")


def write_checksums(folder: Path) -> None:
    """SHA256SUMS of the models, images and facts in a folder."""
    files = sorted(path for path in folder.iterdir() if path.suffix in {".json", ".onnx", ".npz"})
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(sums))


def main() -> None:
    """Train, measure, export; or check what is there."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write")
    parser.add_argument("--check", action="store_true", help="only compare *.npz in that folder")
    options = parser.parse_args()
    if options.check:
        check(options.out)
        print("all test parts: identical")
        return

    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    options.out.mkdir(parents=True, exist_ok=True)
    variants = {}
    clipped_share = 0.0
    for variant, bands in generate.PLANTED_BANDS.items():
        images, labels = generate.generate(variant, "test", TEST_COUNT)
        np.savez_compressed(options.out / f"{variant}.npz", images=images, labels=labels)
        network = train(variant)
        export(network, options.out / f"{variant}.onnx", as_tensor(images))
        clipped_share = float(np.isin(images, (0, 255)).mean())
        variants[variant] = {
            "planted_bands": bands,
            **measurements(network, variant, images, labels),
        }

    facts = {
        "seed": generate.SEED,
        "size": generate.SIZE,
        "band_unit": "cycles per image; low <= rho < high",
        "candidate_bands": generate.CANDIDATE_BANDS,
        "texture_std": generate.TEXTURE_STD,
        "orientation_degrees": [45 * k for k in range(generate.ORIENTATIONS)],
        "classes": 4,
        "test_images": TEST_COUNT,
        "clipped_share": clipped_share,
        "mask": {"penalty_on_mean": MASK_PENALTY, "steps": MASK_STEPS},
        "variants": variants,
    }
    write_facts(options.out / "bands.json", facts)
    write_checksums(options.out)
    print(f"clipped share of test pixels: {clipped_share:.1e}\n")
    print_tables(variants)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
