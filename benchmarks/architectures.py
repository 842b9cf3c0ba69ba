"""Architectures that everybody differentiates, in PyTorch, and their export to ONNX.

They stand in for downloads: a residual network with BatchNormalization, a VGG-11 and a vision transformer, at full size
for benchmarks and at any smaller size for tests, with seeded weights that let activations neither vanish nor explode.
Needs torch, and onnxscript for the export.
"""

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = ["export", "initialised", "residual_network", "vgg", "vision_transformer", "vit_tiny"]

RESIDUAL_SCALE = 0.3
"""Of what a branch adds: after sixteen of them, activations have grown by a factor of less than two."""


class Block(nn.Module):  # type: ignore[misc] # torch is not read by the type checker
    """Two 3×3 convolutions beside an identity, or beside a 1×1 convolution where the shape changes."""

    def __init__(self, given: int, made: int, stride: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(given, made, 3, stride, 1, bias=False),
            nn.BatchNorm2d(made),
            activation(),
            nn.Conv2d(made, made, 3, 1, 1, bias=False),
            nn.BatchNorm2d(made),
        )
        self.branch[-1].ends_branch = True
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or given != made:
            self.shortcut = nn.Sequential(nn.Conv2d(given, made, 1, stride, bias=False), nn.BatchNorm2d(made))
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        """Of one batch."""
        return self.activation(self.shortcut(x) + self.branch(x))


class Attention(nn.Module):  # type: ignore[misc]
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.out.ends_branch = True

    def forward(self, x: Tensor) -> Tensor:
        """Of one batch of sequences."""
        _, tokens, width = x.shape
        parts = self.qkv(x).reshape(-1, tokens, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(-1, tokens, width))


class Encoder(nn.Module):  # type: ignore[misc]
    """Attention and a perceptron, each behind a LayerNormalization and beside an identity."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width, eps=1e-6), Attention(width, heads))
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width, eps=1e-6), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)
        )
        self.perceptron[-1].ends_branch = True

    def forward(self, x: Tensor) -> Tensor:
        """Of one batch of sequences."""
        x = x + self.attention(x)
        return x + self.perceptron(x)


class VisionTransformer(nn.Module):  # type: ignore[misc]
    """Patches, a class token, learned positions, encoders, and a linear head on the class token."""

    def __init__(
        self, *, image: int, patch: int, width: int, depth: int, heads: int, hidden: int, classes: int
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, (image // patch) ** 2 + 1, width))
        self.encoders = nn.Sequential(*(Encoder(width, heads, hidden) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of one batch."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.encoders(x))[:, 0])


def residual_network(
    *,
    widths: Sequence[int] = (64, 128, 256, 512),
    blocks: int = 2,
    classes: int = 1000,
    large_stem: bool = True,
    activation: Callable[[], nn.Module] = nn.ReLU,
    seed: int = 0,
) -> nn.Module:
    """ResNet-18 at its full size: ``blocks`` a stage, one stage a width, each but the first of half the resolution.

    ``large_stem`` is the 7×7 convolution and the pooling for images of 224²; without, a 3×3 convolution.
    """
    stem: list[nn.Module] = [
        nn.Conv2d(
            3, widths[0], 7 if large_stem else 3, 2 if large_stem else 1, 3 if large_stem else 1, bias=False
        )
    ]
    stem += [nn.BatchNorm2d(widths[0]), activation()]
    if large_stem:
        stem.append(nn.MaxPool2d(3, 2, 1))
    body = []
    given = widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            body.append(Block(given, width, 2 if stage and not block else 1, activation))
            given = width
    return initialised(
        nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(given, classes)), seed
    )


def vgg(
    *,
    stages: Sequence[Sequence[int]] = ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    image: int = 224,
    hidden: int = 4096,
    classes: int = 1000,
    seed: int = 0,
) -> nn.Module:
    """VGG-11 at its full size: 3×3 convolutions of the widths given, each stage ended by a 2×2 pooling."""
    body: list[nn.Module] = []
    given = 3
    for stage in stages:
        for width in stage:
            body += [nn.Conv2d(given, width, 3, 1, 1), nn.ReLU()]
            given = width
        body.append(nn.MaxPool2d(2, 2))
    side = image // 2 ** len(stages)
    head = [nn.Linear(given * side**2, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU()]
    return initialised(
        nn.Sequential(*body, nn.Flatten(), *head, nn.Dropout(), nn.Linear(hidden, classes)), seed
    )


def vision_transformer(
    *,
    image: int = 32,
    patch: int = 8,
    width: int = 48,
    depth: int = 2,
    heads: int = 3,
    hidden: int = 96,
    classes: int = 10,
    seed: int = 0,
) -> nn.Module:
    """Pre-norm vision transformer with exact GELU; a small one unless told otherwise."""
    made = VisionTransformer(
        image=image, patch=patch, width=width, depth=depth, heads=heads, hidden=hidden, classes=classes
    )
    return initialised(made, seed)


def vit_tiny(*, seed: int = 0) -> nn.Module:
    """ViT-Tiny/16 for images of 224²."""
    return vision_transformer(
        image=224, patch=16, width=192, depth=12, heads=3, hidden=768, classes=1000, seed=seed
    )


def initialised(module: nn.Module, seed: int = 0) -> nn.Module:
    """``module`` at inference, its weights frozen and drawn anew from ``seed``.

    Weights that a ReLU follows are He-normal, those of transformers truncated normal; normalisations have scales about
    1 (about 0.3 where they end a residual branch) and running statistics as training leaves them: neither 0 nor 1.
    """
    module.eval().requires_grad_(requires_grad=False)
    rng = torch.Generator().manual_seed(seed)
    transformer = isinstance(module, VisionTransformer)
    for part in module.modules():
        scale = RESIDUAL_SCALE if getattr(part, "ends_branch", False) else 1.0
        if isinstance(part, nn.Conv2d | nn.Linear):
            fan_in = math.prod(part.weight.shape[1:])
            deviation = scale * math.sqrt((1 if transformer else 2) / fan_in)
            if transformer:
                nn.init.trunc_normal_(part.weight, 0, deviation, -2 * deviation, 2 * deviation, generator=rng)
            else:
                part.weight.normal_(0, deviation, generator=rng)
            if part.bias is not None:
                part.bias.normal_(0, 0.05, generator=rng)
        elif isinstance(part, nn.BatchNorm2d | nn.LayerNorm):
            part.weight.uniform_(0.8 * scale, 1.2 * scale, generator=rng)
            part.bias.normal_(0, 0.1, generator=rng)
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.2, generator=rng)
            part.running_var.uniform_(0.5, 1.5, generator=rng)
        if isinstance(part, VisionTransformer):
            part.token.normal_(0, 0.5, generator=rng)
            part.positions.normal_(0, 0.5, generator=rng)
    return module


def export(module: nn.Module, path: Path, *, image: int = 224, optimised: bool = True) -> Path:
    """Write ``module`` as ONNX, opset 18, with input ``image``, output ``logits`` and the batch axis ``N``.

    The exporter's optimisations fold BatchNormalization into convolutions and store transposed weights; without them,
    every parameter is an initializer of its own name.
    """
    example = torch.zeros(2, 3, image, image, dtype=next(module.parameters()).dtype)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, which is not used
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter's own, about its own
        torch.onnx.export(
            module,
            (example,),
            path,
            input_names=["image"],
            output_names=["logits"],
            opset_version=18,
            dynamic_shapes=({0: torch.export.Dim("N")},),
            dynamo=True,
            external_data=False,
            verbose=False,
            optimize=optimised,
        )
    return path
