"""Train one small network on handwritten digits twice: on clean and on attacked images.

``python models/digits/recipe.py`` writes ``normal.onnx``, ``robust.onnx``, ``test.npz`` and
``SHA256SUMS`` beside itself and prints the measured accuracies. Needs torch, scikit-learn, onnx and
onnxruntime.
"""

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

SEED = 0
SIZE = 16
TEST_COUNT = 600
EPOCHS = 50
BATCH_SIZE = 64
TRAINING_EPSILON = 0.1
EPSILONS = (0.02, 0.05, 0.08, 0.10, 0.12, 0.15)
ATTACK_STEPS = 40
ATTACK_RESTARTS = 3

Augmentation: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]


class Normalise(nn.Module):
    """Pixels in [0, 1] to about zero mean and unit deviation, as a part of the network."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


def digit_network() -> nn.Sequential:
    """The untrained network: (N, 1, 16, 16) pixels in [0, 1] to (N, 10) logits."""
    return nn.Sequential(
        Normalise(0.31, 0.33),
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 48, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(48 * (SIZE // 4) ** 2, 10),
    )


def digit_images() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All digits, bilinearly enlarged from 8x8 to (1797, 16, 16, 1) 8-bit pixels, and labels."""
    digits = load_digits()
    small = torch.from_numpy(digits.images[:, None] / 16)
    large = functional.interpolate(small, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    pixels = np.rint(large.numpy() * 255).astype(np.uint8)
    return pixels.transpose(0, 2, 3, 1), digits.target.astype(np.int64)


def split(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the training and of the held-out images."""
    order = np.random.Generator(np.random.Philox(SEED)).permutation(count)
    return order[TEST_COUNT:], order[:TEST_COUNT]


def as_tensor(images: NDArray[np.uint8]) -> Tensor:
    """NHWC bytes to NCHW float32 in [0, 1]."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)


def pgd(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    steps: int,
    step_size: float,
    random: torch.Generator,
) -> Tensor:
    """Images within epsilon (L-infinity, pixel units) and [0, 1] that raise the cross-entropy.

    References
    ----------
    .. [1] Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR
       2018. arXiv:1706.06083
    """
    lowest, highest = (images - epsilon).clamp(0, 1), (images + epsilon).clamp(0, 1)
    start = images + epsilon * (2 * torch.rand(images.shape, generator=random) - 1)
    attacked = torch.clamp(start, lowest, highest)
    for _ in range(steps):
        attacked.requires_grad_()
        loss = functional.cross_entropy(network(attacked), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, attacked)
        attacked = torch.clamp(attacked.detach() + step_size * gradient.sign(), lowest, highest)
    return attacked


def train(
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float = 0.0,
    untrained: Callable[[], nn.Sequential] = digit_network,
    augmentation: Augmentation | None = None,
    seed: int = SEED,
) -> nn.Sequential:
    """The trained network; adversarial training unless epsilon is 0."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    # An augmentation has a stream of its own: batches and shifts are the same with and without it.
    augmenting = torch.Generator().manual_seed(seed + 1)
    network = untrained()
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    batches = -(-len(images) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=EPOCHS * batches)
    for epoch in range(EPOCHS):
        # A full-size attack from the first step on keeps the network at chance.
        reach = epsilon * min(1, epoch / (0.3 * EPOCHS))
        for chosen in torch.randperm(len(images), generator=random).split(BATCH_SIZE):
            top, left = torch.randint(3, (2,), generator=random).tolist()
            padded = functional.pad(images[chosen], (1, 1, 1, 1))
            batch, target = padded[..., top : top + SIZE, left : left + SIZE], labels[chosen]
            if augmentation is not None:
                batch = augmentation(batch, augmenting)
            if reach > 0:
                batch = pgd(
                    network,
                    batch,
                    target,
                    epsilon=reach,
                    steps=7,
                    step_size=reach / 4,
                    random=random,
                )
            optimiser.zero_grad()
            functional.cross_entropy(network(batch), target).backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def accuracy_under_pgd(network: nn.Module, images: Tensor, labels: Tensor, *, epsilon: float) -> float:
    """Share of images that stay right in every restart."""
    random = torch.Generator().manual_seed(SEED)
    right = torch.ones(len(images), dtype=torch.bool)
    for _ in range(ATTACK_RESTARTS):
        attacked = pgd(
            network,
            images,
            labels,
            epsilon=epsilon,
            steps=ATTACK_STEPS,
            step_size=epsilon / 8,
            random=random,
        )
        right &= network(attacked).argmax(1) == labels
    return float(right.float().mean())


def power_share_above(images: NDArray[np.uint8], cycles_per_image: int) -> float:
    """Share of the power without DC in rings beyond a radius, averaged over images."""
    frequency = np.fft.fftfreq(SIZE) * SIZE
    ring = np.floor(np.hypot(frequency[:, None], frequency[None, :]) + 0.5)
    power = np.abs(np.fft.fft2(images[..., 0] / 255)) ** 2
    power[:, 0, 0] = 0
    shares: NDArray[np.float64] = (power * (ring > cycles_per_image)).sum((1, 2))
    return float((shares / power.sum((1, 2))).mean())


def export(network: nn.Module, path: Path, example: Tensor) -> NDArray[np.float32]:
    """Write an ONNX file and return the logits that onnxruntime computes from it.

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
    logits: NDArray[np.float32] = session.run(["logits"], {"image": example.numpy()})[0]
    difference = np.abs(logits - network(example).detach().numpy()).max()
    if difference > 1e-4:
        msg = f"{path.name}: logits of onnxruntime and torch differ by {difference:.1e}"
        raise ValueError(msg)
    return logits


def check(folder: Path) -> None:
    """Raise ValueError unless test.npz in a folder holds the images that this recipe makes."""
    images, labels = digit_images()
    held_out = split(len(images))[1]
    with np.load(folder / "test.npz") as shipped:
        for name, expected in (("images", images[held_out]), ("labels", labels[held_out])):
            if shipped[name].dtype != expected.dtype or not np.array_equal(shipped[name], expected):
                msg = f"test.npz: {name} differ from those of load_digits"
                raise ValueError(msg)


def write_checksums(folder: Path) -> None:
    """SHA256SUMS of the models and images in a folder."""
    files = sorted(path for path in folder.iterdir() if path.suffix in {".onnx", ".npz"})
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(sums))


def main() -> None:
    """Train, measure, export; or check what is there."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write")
    parser.add_argument("--check", action="store_true", help="only compare test.npz in that folder")
    options = parser.parse_args()
    if options.check:
        check(options.out)
        print("test.npz: identical")
        return

    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    options.out.mkdir(parents=True, exist_ok=True)
    pixels, targets = digit_images()
    training, held_out = split(len(pixels))
    np.savez_compressed(options.out / "test.npz", images=pixels[held_out], labels=targets[held_out])
    images, labels = as_tensor(pixels[held_out]), torch.from_numpy(targets[held_out])

    print(f"power at r > 4 cycles per image: {power_share_above(pixels[held_out], 4):.4f} of non-DC")
    print("| epsilon | 0 (clean) |", " | ".join(f"{e:.2f}" for e in EPSILONS), "|")
    print("|---" * (len(EPSILONS) + 2) + "|")
    for name, epsilon in (("normal", 0.0), ("robust", TRAINING_EPSILON)):
        network = train(as_tensor(pixels[training]), torch.from_numpy(targets[training]), epsilon=epsilon)
        logits = export(network, options.out / f"{name}.onnx", images)
        row = [float((logits.argmax(1) == targets[held_out]).mean())]
        row += [accuracy_under_pgd(network, images, labels, epsilon=e) for e in EPSILONS]
        print(f"| {name} |", " | ".join(f"{a:.3f}" for a in row), "|")

    write_checksums(options.out)


if __name__ == "__main__":
    main()
