"""Gradients that our preset of Fourier masks takes to the sparsity that the published one reaches.

python benchmarks/masks.py [MODEL.onnx DATA.npz --mean ... --std ...] [--images 200] [--own-images 10]

On ``models/digits``, ``models/bands`` and MODEL. Both presets learn one mask for all images, then a mask for each of a
few; both must leave 99 % of the right images right, and the masks of images every prediction. Of the masks for all
images, counted are images classified and differentiated until an epoch of ours ends with such a mask that is as sparse
as the published preset's. Masks of images are compared where both presets end: ours have to be as sparse, all together.
Where the published rule ends no mask, that costs 20 000 gradients: the median over the images that it does end stands
beside the ratio of sums. The bar is the project's own.
"""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import specprobe
from specprobe.recipe import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from specprobe.analysis.mask_result import FourierMask
    from specprobe.protocols import ImageSource
    from specprobe.runtime.network import Network

ROOT = Path(__file__).resolve().parent.parent
BAR = 1 / 5
"""Gradients of ours over those of the published preset, at most."""
GOAL = 0.99


def main() -> None:
    """Print a row a model, preset and kind of mask."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--mean", type=float, nargs="*", default=[0.0])
    parser.add_argument("--std", type=float, nargs="*", default=[1.0])
    parser.add_argument("--images", type=int, default=200, help="that share a mask; 0 for none")
    parser.add_argument("--own-images", type=int, default=20, help="that get masks of their own; 0 for none")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    if (chosen.model is None) != (chosen.data is None):
        parser.error("MODEL and DATA go together")
    print(
        f"{chosen.images} images, {chosen.own_images} with masks of their own; at least {GOAL:.0%} stay right"
    )
    print(
        f"{'model':30s} {'masks':9s} {'preset':10s} {'gradients':>9s} {'seconds':>7s} {'density':>8s} "
        f"{'accuracy':>8s} {'masked':>7s} {'agree':>6s}  gradients to that sparsity"
    )
    for name, network, images in _cases(chosen):
        if chosen.images:
            compared(name, network, images, limit=chosen.images)
        if chosen.own_images:
            compared(name, network, images, limit=chosen.own_images, per_image=True)


def _cases(chosen: argparse.Namespace) -> "Iterator[tuple[str, Network, ImageSource]]":
    shipped = [
        ("digits/normal", "digits/test"),
        ("bands/low", "bands/low"),
        ("bands/low_high", "bands/low_high"),
    ]
    for model, data in shipped:
        images = specprobe.load_images(ROOT / "models" / f"{data}.npz")
        path = ROOT / "models" / f"{model}.onnx"
        yield model, specprobe.load(path, image_shape=images.image_shape, threads=chosen.threads), images
    if chosen.model is not None:
        images = specprobe.load_images(chosen.data)
        recipe = Preprocessing(mean=tuple(chosen.mean), std=tuple(chosen.std))
        network = specprobe.load(
            chosen.model, preprocessing=recipe, image_shape=images.image_shape, threads=chosen.threads
        )
        yield chosen.model.stem, network, images


def compared(name: str, network: "Network", images: "ImageSource", /, **options: Any) -> None:
    """Both presets, and the ratio."""
    found: dict[str, FourierMask] = {}
    for preset in ("karantzas", "default"):
        start = time.perf_counter()
        result = found[preset] = specprobe.fourier_mask(
            network, images, preset=preset, agreement=GOAL, **options
        )
        took = time.perf_counter() - start
        told = "" if preset == "karantzas" else verdict(found["karantzas"], result)
        print(
            f"{name:30s} {'an image' if result.per_image else 'shared':9s} {preset:10s} "
            f"{result.gradient_evaluations:9d} {took:7.1f} {result.density:8.4f} {result.accuracy or 0:8.3f} "
            f"{result.masked_accuracy or 0:7.3f} {result.agreement:6.3f}  {told}",
            flush=True,
        )


def verdict(published: "FourierMask", ours: "FourierMask", /) -> str:
    """Gradients to the published sparsity over the published preset's, and whether that is few enough."""
    if ours.per_image:
        return _of_images(published, ours)
    for epoch, (density, _, _, kept, _) in enumerate(ours.history, start=1):
        if density is not None and kept is not None and density <= published.density and kept >= GOAL:
            reached = ours.gradient_evaluations * epoch // len(ours.history)
            ratio = reached / published.gradient_evaluations
            held = "holds" if ratio <= BAR else "fails"
            return f"{reached} / {published.gradient_evaluations} = {ratio:.3f} (at most {BAR:g}: {held})"
    return "not reached: fails"


def _of_images(published: "FourierMask", ours: "FourierMask") -> str:
    """The same of masks of images, at the end of both."""
    ratio = ours.gradient_evaluations / published.gradient_evaluations
    assert ours.image_gradients is not None
    assert published.image_gradients is not None
    ended = published.image_converged
    each = np.median((ours.image_gradients / published.image_gradients)[ended])
    as_sparse = ours.density <= published.density and ours.agreement >= published.agreement
    held = "holds" if as_sparse and max(ratio, each) <= BAR else "fails"
    return (
        f"{ratio:.3f}, median of {int(np.count_nonzero(ended))} images {each:.3f} (at most {BAR:g}: {held}), "
        f"{ours.density / published.density:.3f} of the density"
    )


if __name__ == "__main__":
    main()
