"""Figures and numbers of the page that compares networks with twins of another training or architecture.

python docs/twins.py [--seeds DIR]... [-o docs/figures]

All models are in this repository. Trainings with other seeds, which are not, are made by

python models/digits/twins.py --seed 1 --out DIR/digits
python models/bands/twins.py --seed 1 --out DIR/bands
"""

import argparse
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from perturbation_triple import all_steps
from twins_figures import centroid_figure, mask_figure

import specprobe
from specprobe.analysis.comparison import compare_results
from specprobe.analysis.mask_reading import MaskDifference, mask_difference
from specprobe.analysis.mask_reading_bias import NUMBERS
from specprobe.analysis.paired import paired_means, paired_proportions
from specprobe.analysis.perturbation import PerturbationSpectrum, perturbation_spectrum
from specprobe.report.figures import save

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from specprobe.analysis.comparison_result import Comparison
    from specprobe.analysis.corruption_result import CorruptionAccuracy
    from specprobe.attacks.outcome import AttackOutcome
    from specprobe.protocols import ImageSource
    from specprobe.runtime.network import Network

ROOT = Path(__file__).resolve().parents[1]
STEPS = 40
CENTROID = "centroid_cycles_per_image"
MEASURES = ("gradient", "L2 attack", "mask")
"""Whose centroids are compared."""


class Family(NamedTuple):
    """Networks for the same images; the first is what the others are compared with."""

    folder: str
    data: str
    files: dict[str, str]
    """By name."""
    linf: float
    l2: float
    masks: int
    """Images that get masks of their own."""
    cutoff: int
    """Of the high-pass that is shown."""
    bands: tuple[tuple[float, float], ...] = ()
    """Whose use is known by construction."""


FAMILIES = {
    "digits": Family(
        "digits",
        "test.npz",
        {
            "normal": "normal",
            "noise": "noise",
            "low-pass": "low_pass",
            "scale": "scale",
            "rotation": "rotation",
            "adversarial": "robust",
            "wide": "wide",
            "dense": "mlp",
            "attention": "attention",
        },
        linf=0.05,
        l2=0.5,
        masks=300,
        cutoff=2,
    ),
    "bands": Family(
        "bands",
        "any.npz",
        {
            "any": "any",
            "noise": "any_noise",
            "low-pass": "any_low_pass",
            "scale": "any_scale",
            "rotation": "any_rotation",
            "small kernels": "any_small_kernels",
        },
        linf=0.04,
        l2=1.0,
        masks=150,
        cutoff=10,
        bands=((3, 5), (7, 9), (13, 15)),
    ),
}


class Difference(NamedTuple):
    """A twin's number less the first network's; of the first network, the number itself."""

    value: float
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        """As in the tables."""
        if self.interval is None:
            return f"{self.value:.3f}"
        low, high = self.interval
        return f"{self.value:+.3f} [{low:+.3f}, {high:+.3f}]".replace("-", "−")


def compared(source: "Comparison", name: str, place: int) -> Difference:
    """Of a comparison's metric."""
    metric = source[name]
    value = metric.differences[place]
    if value is None:
        value = metric.values[place]
    return Difference(np.nan if value is None else value, metric.differences_interval[place])


def paired(first: "NDArray[np.float64]", twin: "NDArray[np.float64]") -> Difference:
    """Of values by image."""
    found = paired_means((twin - first)[:, None])
    return Difference(float(found.mean[0]), (found.interval[0, 0], found.interval[0, 1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectra:
    """Where the networks of a family are sensitive, attacked and read; names, images and order as of ``whole``."""

    family: Family
    whole: "Comparison"
    """Accuracy and sensitivity."""
    moved: list[PerturbationSpectrum]
    """By L2 attacks that take all steps."""
    masks: list[MaskDifference]
    """Of images that both networks get right: a twin's masks less the first network's."""
    robust: "list[AttackOutcome]"
    """Under L∞ attacks."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the networks."""
        return self.whole.models

    def shift(self, measure: str, place: int) -> Difference:
        """How far a twin's centroid lies above the first network's."""
        if measure == "mask":
            return self.mask_number(CENTROID, place)
        if measure == "L2 attack":
            return self.moved_number(CENTROID, place)
        return compared(self.whole, f"sensitivity.{CENTROID}", place)

    def robust_accuracy(self, place: int) -> Difference:
        """Share of images that are right under attack."""
        first, twin = (np.asarray(self.robust[i].image_robust) for i in (0, place))
        if not place:
            return Difference(float(first.mean()))
        pair = paired_proportions(first, twin)
        return Difference(pair.difference, pair.interval)

    def mask_number(self, name: str, place: int) -> Difference:
        """Of the masks of images."""
        at = NUMBERS.index(name)
        if not place:
            return Difference(float(self.masks[0].numbers[at, 1]))
        found = self.masks[place - 1]
        low, high = np.asarray(found.number_difference_interval)[at]
        return Difference(float(found.number_difference[at]), (low, high))

    def moved_number(self, name: str, place: int) -> Difference:
        """Of the perturbations of images that both networks get right."""
        first, twin = (np.asarray(getattr(self.moved[i], f"image_{name}")) for i in (0, place))
        return Difference(float(np.nanmean(first))) if not place else paired(first, twin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured(Spectra):
    """Everything on the page about a family; ``whole`` holds the band accuracies, too."""

    corrupted: "list[CorruptionAccuracy]"
    reliance: "Comparison | None"
    """On the family's bands."""


def spectra(
    networks: "list[Network]", images: "ImageSource", family: Family, names: list[str], *, whole: "Comparison"
) -> Spectra:
    """What other trainings are measured for, too."""
    masks = [specprobe.fourier_mask(n, images, per_image=True, limit=family.masks) for n in networks]
    right = [np.asarray(mask.image_correct) for mask in masks]
    return Spectra(
        family=family,
        whole=whole,
        moved=[perturbations(n, images, family.l2) for n in networks],
        masks=[
            mask_difference(masks[i], masks[0], images=right[i] & right[0], bands=16)
            for i in range(1, len(names))
        ],
        robust=[
            specprobe.attack(n, images, attack="pgd", epsilon=family.linf, steps=STEPS) for n in networks
        ],
    )


def opened(family: Family, folder: Path) -> "tuple[list[str], list[Network], ImageSource]":
    """Names, networks that a folder holds, and images."""
    names = [name for name, file in family.files.items() if (folder / f"{file}.onnx").exists()]
    # Networks so small gain nothing from a second thread.
    networks = [specprobe.load(folder / f"{family.files[name]}.onnx", threads=1) for name in names]
    return names, networks, specprobe.load_images(ROOT / "models" / family.folder / family.data)


def retrained(family: Family, folder: Path) -> Spectra:
    """Of another training."""
    names, networks, images = opened(family, folder)
    whole = specprobe.compare(networks, images, names=names, analyses=("accuracy", "sensitivity"))
    return spectra(networks, images, family, names, whole=whole)


def measured(family: Family) -> Measured:
    """Of the shipped networks."""
    names, networks, images = opened(family, ROOT / "models" / family.folder)
    found = spectra(networks, images, family, names, whole=specprobe.compare(networks, images, names=names))
    read = [
        specprobe.band_accuracy(n, images, bands=family.bands, restore_mean=True)
        for n in networks
        if family.bands
    ]
    return Measured(
        family=family,
        whole=found.whole,
        moved=found.moved,
        masks=found.masks,
        robust=found.robust,
        corrupted=[specprobe.corruption_accuracy(n, images) for n in networks],
        reliance=compare_results(read, names=names) if read else None,
    )


def perturbations(network: "Network", images: "ImageSource", epsilon: float) -> PerturbationSpectrum:
    """Of L2 attacks on the images that are right; the others did not move."""
    batch = images.read(0, images.images)
    attack = partial(all_steps, steps=STEPS)
    outcome = specprobe.attack(network, images, attack=attack, norm="l2", epsilon=epsilon, keep_images=True)
    return perturbation_spectrum(batch.images, outcome.adversarial, digests=batch.digests)


def tables(found: Measured) -> str:
    """Three tables of a family, and one of its bands: the first network's values, then differences to them."""
    count, whole = range(len(found.names)), partial(compared, found.whole)
    shown: dict[str, dict[str, Callable[[int], object]]] = {
        "robustness": {
            "accuracy": partial(whole, "accuracy"),
            f"PGD L∞ {found.family.linf:g}": found.robust_accuracy,
            "high-frequency corruptions": partial(_corrupted, found.corrupted, True),
            "low-frequency corruptions": partial(_corrupted, found.corrupted, False),
        },
        "spectrum": {
            "gradient: low share": partial(whole, "sensitivity.low_share"),
            "gradient: centroid": partial(whole, f"sensitivity.{CENTROID}"),
            "L2 attack: centroid": partial(found.moved_number, CENTROID),
            "mask: centroid": partial(found.mask_number, CENTROID),
        },
        "use": {
            "`radius_95`": partial(_radius, found.whole),
            f"high-pass {found.family.cutoff}": partial(
                whole, f"bands.high_pass.{found.family.cutoff}.accuracy"
            ),
            "mask: more energy at": partial(_bands, found, True),
            "mask: less energy at": partial(_bands, found, False),
        },
    }
    if found.reliance is not None:
        names = [f"{band[0]:g}:{band[1]:g}" for band in found.family.bands]
        shown["reliance"] = {
            f"only {name}": partial(compared, found.reliance, f"bands.band_pass.{name}.accuracy")
            for name in names
        }
    parts = []
    for title, columns in shown.items():
        lines = [["network", *columns], ["---"] * (len(columns) + 1)]
        lines += [[found.names[i], *(str(cell(i)) for cell in columns.values())] for i in count]
        parts.append(f"{title}\n\n" + _table(lines))
    return "\n\n".join(parts)


def _bands(found: Measured, more: bool, place: int) -> str:
    """Radii at which the interval of the difference leaves out 0."""
    if not place:
        return ""
    difference = found.masks[place - 1]
    low, high = np.asarray(difference.radial_difference_interval).T
    held = low > 0 if more else high < 0
    return ", ".join(f"{centre:.1f}" for centre in difference.radial_centres[held]) or "–"


def _radius(source: "Comparison", place: int) -> str:
    value, bounds = source["bands.radius_95"].values[place], source["bands.radius_95"].values_interval[place]
    return "–" if value is None or bounds is None else f"{value:g} [{bounds[0]:g}, {bounds[1]:g}]"


def _corrupted(found: "list[CorruptionAccuracy]", high: bool, place: int) -> Difference:
    """Mean over corruptions that lie at high, or at low frequencies, all severities."""
    kinds = (np.asarray(found[0].high_frequency_share).mean(axis=1) > 0.5) == high
    first, twin = (
        np.asarray(found[i].image_correct)[:, kinds].reshape(found[i].images, -1).mean(axis=1)
        for i in (0, place)
    )
    return Difference(float(first.mean())) if not place else paired(first, twin)


def _table(lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def seeds_table(families: "dict[str, Measured]", others: "dict[str, list[Spectra]]") -> str:
    """Shifts of the centroid and of robust accuracy by training: the shipped one, then each other one."""
    lines = [["networks", "twin", *MEASURES, "PGD"], ["---"] * (3 + len(MEASURES))]
    for family, found in families.items():
        for place, name in enumerate(found.names[1:], 1):
            runs: list[tuple[Spectra, int]] = [(found, place)]
            runs += [(run, run.names.index(name)) for run in others[family] if name in run.names]
            shifts = [[run.shift(measure, at).value for run, at in runs] for measure in MEASURES]
            shifts.append([run.robust_accuracy(at).value for run, at in runs])
            cells = [", ".join(f"{value:+.2f}" for value in row).replace("-", "−") for row in shifts]
            lines.append([family, name, *cells])
    return _table(lines)


def main() -> int:
    """Write the figures, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seeds", type=Path, action="append", default=[], help="folder of another training; repeatable"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "figures")
    chosen = parser.parse_args()
    found: dict[str, Measured] = {}
    others: dict[str, list[Spectra]] = {}
    for name, family in FAMILIES.items():
        found[name] = measured(family)
        sys.stdout.write(f"## {name}\n\n{tables(found[name])}\n\n")
        sys.stdout.flush()
        folders = [part / family.folder for part in chosen.seeds]
        others[name] = [retrained(family, folder) for folder in folders if folder.exists()]
    chosen.output.mkdir(parents=True, exist_ok=True)
    drawn = {"centroid": centroid_figure(found, others, MEASURES), "mask": mask_figure(found)}
    for kind, figure in drawn.items():
        save(figure, chosen.output / f"twins_{kind}.png", suffix=".png", dpi=90)
    sys.stdout.write(seeds_table(found, others) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
