"""What is done to the training images of augmented twins: noise, low-pass, scale, rotation.

Each function takes images of shape (N, C, H, W) with pixels in [0, 1] and a generator, draws for every image anew and
leaves its arguments as they are. ``python models/digits/twins.py`` and ``python models/bands/twins.py`` use them.
"""

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

Surroundings: TypeAlias = Literal["constant", "circular"]
"""What lies around an image: black, or the image again (exact for images that are made by an inverse FFT)."""


def noise(images: Tensor, random: torch.Generator, *, largest: float) -> Tensor:
    """White noise, clipped to [0, 1]; its standard deviation is uniform from 0 to ``largest``."""
    deviation = largest * torch.rand(len(images), 1, 1, 1, generator=random)
    return (images + deviation * torch.randn(images.shape, generator=random)).clamp(0, 1)


def low_pass(images: Tensor, random: torch.Generator, *, cutoff: float) -> Tensor:
    """Every second image, by chance, without frequencies from ``cutoff`` cycles per image on; not clipped."""
    height, width = images.shape[-2:]
    f_y, f_x = torch.fft.fftfreq(height) * height, torch.fft.fftfreq(width) * width
    kept = torch.hypot(f_y[:, None], f_x[None, :]) < cutoff
    filtered = torch.fft.ifft2(torch.fft.fft2(images) * kept).real
    chosen = torch.rand(len(images), 1, 1, 1, generator=random) < 0.5
    return torch.where(chosen, filtered, images)


def scale(
    images: Tensor, random: torch.Generator, *, factors: tuple[float, float], around: Surroundings
) -> Tensor:
    """Enlarged or reduced about the middle by a factor that is uniform between two bounds."""
    low, high = factors
    factor = low + (high - low) * torch.rand(len(images), generator=random)
    return _warped(images, torch.eye(2) / factor[:, None, None], around)


def rotation(images: Tensor, random: torch.Generator, *, degrees: float, around: Surroundings) -> Tensor:
    """Turned about the middle by an angle that is uniform up to ``degrees`` either way."""
    angle = math.radians(degrees) * (2 * torch.rand(len(images), generator=random) - 1)
    cosine, sine = angle.cos(), angle.sin()
    return _warped(images, torch.stack([cosine, -sine, sine, cosine], dim=1).reshape(-1, 2, 2), around)


def _warped(images: Tensor, matrix: Tensor, around: Surroundings) -> Tensor:
    """Bilinear samples of square images at positions that a matrix makes of the pixels' own."""
    side = images.shape[-1]
    margin = side // 2
    wide = functional.pad(images, (margin,) * 4, mode=around)
    affine = torch.cat([matrix, torch.zeros(len(images), 2, 1)], dim=2)
    grid = functional.affine_grid(affine, list(images.shape), align_corners=False)
    return functional.grid_sample(wide, grid * (side / (side + 2 * margin)), align_corners=False)
