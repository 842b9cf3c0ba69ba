"""Fourier masks of one architecture trained in three ways: of three networks on CIFAR-10, and of three on MNIST.

python docs/mask_triple.py [--images 300] [--per-image 0] [--masks DIR] [-o docs/figures]

The environment variable SPECPROBE_ASSETS names the folder of the third-party models and images, which are not part of
this repository. With --masks, every mask is written there as an .npz, as by ``specprobe mask -o``.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import specprobe
from specprobe.analysis.mask_energy import radial_centres, radial_energy
from specprobe.analysis.mask_result import FourierMask
from specprobe.recipe import Preprocessing
from specprobe.report.figures import save
from specprobe.report.sensitivity import draw_rings
from specprobe.results import document, write_npz
from specprobe.spectral.grid import frequencies, ring_bands, rings

FAMILIES: dict[str, tuple[str, Preprocessing, dict[str, str]]] = {
    "CIFAR-10": (
        "data/cifar10_lossless_test.npz",
        Preprocessing(),
        {
            "normal": "cifar10_ada_resnet4b_standard",
            "FGSM 8/255": "cifar10_ada_resnet4b_fgsm",
            "PGD 8/255": "cifar10_ada_resnet4b_pgd",
        },
    ),
    "MNIST": (
        "data/mnist_test1000.npz",
        Preprocessing(mean=(0.1307,), std=(0.3081,)),
        {
            "normal": "mnist_eran_convsmall_point",
            "PGD": "mnist_eran_convsmall_pgdk",
            "DiffAI": "mnist_eran_convsmall_diffai",
        },
    ),
}
COLOURS = ("#0072B2", "#D55E00", "#009E73")


def learned(
    model: Path, data: Path, recipe: Preprocessing, folder: Path | None, **options: Any
) -> FourierMask:
    """Mask of one network, kept in ``folder``."""
    images = specprobe.load_images(data)
    network = specprobe.load(model, preprocessing=recipe, image_shape=images.image_shape)
    result = specprobe.fourier_mask(network, images, **options)
    if folder is not None:
        kind = "per_image" if result.per_image else "shared"
        content = document(result, model={"file": model.name}, data=images.describe())
        write_npz(folder / f"{model.stem}_{kind}.npz", content, result.arrays())
    return result


def table(found: dict[str, dict[str, FourierMask]]) -> str:
    """A row a network."""
    names = (
        *("data", "training", "images", "accuracy", "under the mask", "kept", "agreement"),
        *("held out", "under the complement", "density", "low", "mid", "high", "gradients"),
    )
    rows = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    for family, masks in found.items():
        for training, result in masks.items():
            shares = _band_shares(result)
            held = result.held_out_agreement
            cells = [
                family,
                training,
                str(result.images),
                _with(result.accuracy, result.accuracy_interval),
                _with(result.masked_accuracy, result.masked_accuracy_interval),
                "" if result.kept is None else f"{result.kept:.3f}",
                _with(result.agreement, result.agreement_interval),
                "" if held is None else _with(held, result.held_out_agreement_interval),
                _with(result.complement_accuracy, result.complement_accuracy_interval),
                f"{result.density:.3f}",
                *(f"{share:.3f}" for share in shares),
                str(result.gradient_evaluations),
            ]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _with(value: float | None, interval: Any) -> str:
    return "" if value is None else f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def _band_shares(result: FourierMask) -> list[float]:
    """Parts of the squared mask, the mean left out."""
    masks = np.asarray(result.masks, np.float64)
    shape = (result.image_shape[1], result.image_shape[2])
    ring, squares = rings(shape), (masks**2).mean(axis=(0, 1))
    total = squares[ring > 0].sum()
    edges = np.arange(ring.max() + 1)
    return [float(squares[np.isin(ring, edges[band])].sum() / total) for band in ring_bands(shape)]


def figure(found: dict[str, dict[str, FourierMask]]) -> Figure:
    """Masks of a family in a row, and their energies by radius beside them."""
    drawn = Figure(figsize=(15, 3.9 * len(found)), layout="constrained")
    axes = drawn.subplots(len(found), 4, squeeze=False)
    for row, (family, masks) in zip(axes, found.items(), strict=True):
        for axis, (training, result) in zip(row, masks.items(), strict=False):
            shape = (result.image_shape[1], result.image_shape[2])
            f_y, f_x = frequencies(shape)
            image = axis.imshow(
                np.asarray(result.masks).mean(axis=(0, 1)),
                extent=(f_x[0] - 0.5, f_x[-1] + 0.5, f_y[-1] + 0.5, f_y[0] - 0.5),
                interpolation="nearest",
                cmap="viridis",
                vmin=0,
                vmax=1,
            )
            draw_rings(axis, shape)
            axis.set_title(f"{family}, {training}: density {result.density:.3f}", fontsize="medium")
            axis.set_xlabel("horizontal frequency (cycles per image)")
        row[0].set_ylabel("vertical frequency (cycles per image)")
        drawn.colorbar(image, ax=row[:3], shrink=0.9, pad=0.01).set_label("mask")
        for colour, (training, result) in zip(COLOURS, masks.items(), strict=True):
            shape = (result.image_shape[1], result.image_shape[2])
            held = radial_energy(np.ones(shape)) > 0
            row[3].plot(
                radial_centres(shape)[held],
                result.radial_energy[held],
                color=colour,
                marker="o",
                markersize=2.5,
                linewidth=1.2,
                label=training,
            )
        row[3].set_xlabel("radius (cycles per image)")
        row[3].set_ylabel("energy")
        row[3].set_ylim(bottom=0)
        row[3].grid(alpha=0.3)
        row[3].legend(fontsize="small", frameon=False)
    return drawn


def main() -> int:
    """Learn all masks, write figure and table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--per-image", type=int, default=0, help="images that get masks of their own, too")
    parser.add_argument("--masks", type=Path, help="folder that the masks are written to")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "figures")
    chosen = parser.parse_args()
    folder = os.environ.get("SPECPROBE_ASSETS")
    if not folder or not all(Path(folder, data).exists() for data, _, _ in FAMILIES.values()):
        sys.stderr.write("SPECPROBE_ASSETS names no folder that holds the models and images; set it\n")
        return 1
    found: dict[str, dict[str, FourierMask]] = {}
    for family, (data, recipe, models) in FAMILIES.items():
        found[family] = {}
        for training, name in models.items():
            given = (Path(folder, "models", f"{name}.onnx"), Path(folder, data), recipe, chosen.masks)
            found[family][training] = learned(*given, limit=chosen.images)
            if chosen.per_image:
                learned(*given, limit=chosen.per_image, per_image=True)
    chosen.output.mkdir(parents=True, exist_ok=True)
    save(figure(found), chosen.output / "mask_triple.png", suffix=".png", dpi=90)
    sys.stdout.write(table(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
