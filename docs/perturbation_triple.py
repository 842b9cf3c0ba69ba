"""Figures and numbers of the page that attacks two architectures, each trained in three ways.

python docs/perturbation_triple.py [--images 200] [--steps 40] [--only cifar10] [-o docs/figures]

The environment variable SPECPROBE_ASSETS names the folder of the third-party models and images, which are not part of
this repository.
"""

import argparse
import os
import sys
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

import specprobe
from specprobe.analysis.band_replacement import BandReplacement, band_replacement
from specprobe.analysis.perturbation import PerturbationSpectrum, array_spectrum
from specprobe.attacks.band_sweep import AdversarialBandSweep, adversarial_band_sweep
from specprobe.recipe import Preprocessing
from specprobe.report.band_replacement import draw_damage
from specprobe.report.band_sweep import draw_sweep
from specprobe.report.figures import save
from specprobe.report.perturbation import draw_ring_sums

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from specprobe.attacks.oracle import Oracle
    from specprobe.attacks.outcome import AttackOutcome
    from specprobe.attacks.streams import Streams
    from specprobe.attacks.threat import Norm, Threat

MEASURES = {
    "absolute": "D1 absolute",
    "magnitude_change": "D2 magnitude change",
    "relative": "D3 relative",
    "log_ratio": "D4 log ratio",
}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
MARKERS = ("o", "s", "^", "D")
NORMS: "dict[Norm, str]" = {"l2": "L2", "linf": "L∞"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Networks that are compared with each other."""

    data: str
    models: dict[str, str]
    """By training."""
    epsilon: "dict[Norm, float]"
    """By norm."""
    preprocessing: dict[str, Preprocessing | None]
    """By training."""


_STANDARDISED = Preprocessing(mean=(0.1307,), std=(0.3081,))
FAMILIES = {
    "cifar10": Family(
        data="data/cifar10_lossless_test.npz",
        models={
            "normal": "cifar10_ada_resnet4b_standard",
            "FGSM 8/255": "cifar10_ada_resnet4b_fgsm",
            "PGD 8/255": "cifar10_ada_resnet4b_pgd",
        },
        epsilon={"l2": 0.5, "linf": 8 / 255},
        preprocessing={"normal": None, "FGSM 8/255": None, "PGD 8/255": None},
    ),
    "mnist": Family(
        data="data/mnist_test1000.npz",
        models={
            "normal": "mnist_eran_convsmall_point",
            "PGD": "mnist_eran_convsmall_pgdk",
            "DiffAI": "mnist_eran_convsmall_diffai",
            "dense, normal": "mnist_vnn_256x2",
        },
        epsilon={"l2": 1.5, "linf": 0.1},
        preprocessing={
            "normal": _STANDARDISED,
            "PGD": _STANDARDISED,
            "DiffAI": _STANDARDISED,
            "dense, normal": None,
        },
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured on one model: by norm, and of the gradient."""

    outcomes: "dict[Norm, AttackOutcome]"
    """Of :func:`all_steps`."""
    started: "dict[Norm, AttackOutcome]"
    """From a random point of the ball to the first success, as is usual for robust accuracy."""
    replacements: "dict[Norm, BandReplacement]"
    gradient: PerturbationSpectrum
    sweep: AdversarialBandSweep

    def spectrum(self, norm: "Norm") -> PerturbationSpectrum:
        """Of all images that moved."""
        found = self.outcomes[norm].perturbation
        if found is None:
            msg = f"no image moved under {norm}"
            raise RuntimeError(msg)
        return found


def all_steps(oracle: "Oracle", threat: "Threat", _streams: "Streams", /, *, steps: int) -> Any:
    """PGD from the image itself that takes all its steps, whether it has succeeded or not.

    A random start would be white noise of the size of the ball, and an attack that ends with its first success has no
    more than it needs: without any part of it, it fails.
    """
    rows, current = np.arange(len(oracle)), oracle.images
    for _ in range(steps):
        _, _, gradients = oracle.gradient(current, rows)
        step = 2.5 * threat.epsilon / steps * threat.steepest(gradients)
        current = threat.project(oracle.images, current + step)
    return current


def measured(folder: Path, family: Family, training: str, options: argparse.Namespace) -> Measured:
    """Every analysis of one model."""
    images = specprobe.load_images(folder / family.data, limit=options.images)
    network = specprobe.load(
        folder / "models" / f"{family.models[training]}.onnx",
        preprocessing=family.preprocessing[training],
        image_shape=images.image_shape,
    )
    batch = images.read(0, images.images)
    _, gradients = network.gradient(batch.images, batch.labels, loss="cross-entropy")
    outcomes, started, replacements = {}, {}, {}
    for norm, epsilon in family.epsilon.items():
        strong = partial(all_steps, steps=options.steps)
        outcome = specprobe.attack(
            network, images, attack=strong, norm=norm, epsilon=epsilon, keep_images=True
        )
        outcomes[norm] = outcome
        started[norm] = specprobe.attack(
            network, images, attack="pgd", norm=norm, epsilon=epsilon, steps=options.steps
        )
        replacements[norm] = band_replacement(network, images, outcome.adversarial)
    sweep = adversarial_band_sweep(
        network,
        images,
        norm="l2",
        epsilon=family.epsilon["l2"],
        steps=options.sweep_steps,
        limit=options.sweep_images,
    )
    return Measured(
        outcomes=outcomes,
        started=started,
        replacements=replacements,
        gradient=array_spectrum(gradients, clean=batch.images),
        sweep=sweep,
    )


def tables(found: dict[str, Measured]) -> str:
    """The page's tables of one family."""
    shares = ("low", "mid", "high", "centroid")
    parts = []
    for norm, name in NORMS.items():
        measures = (f"{label}, low : high" for label in MEASURES.values())
        radii = ("broken", "low-pass half radius", "high-pass half radius", "energy below the first")
        for head, cells in (
            (("clean", "robust", *shares, "half power", "at the mean"), _share_cells),
            (tuple(measures), _measure_cells),
            (radii, _replacement_cells),
            (("robust after a random start", *shares), _started_cells),
        ):
            rows = [[training, *cells(part, norm)] for training, part in found.items()]
            parts.append(_table([f"{name}: training", *head], rows))
    gradients = [part.gradient for part in found.values()]
    names = (
        *("low_share", "mid_share", "high_share"),
        *("centroid_cycles_per_image", "half_power_cycles_per_image"),
    )
    rows = [[name, *_estimates(of, names)] for name, of in zip(found, gradients, strict=True)]
    rows.append(["white noise", *(f"{share:.3f}" for share in gradients[0].white_noise_bands), "", ""])
    rows.append(["clean images", *_clean_cells(gradients[0]), "", ""])
    parts.append(_table(["gradient: training", *shares, "half power"], rows))
    sweep = next(iter(found.values())).sweep
    heads = [f"{a:g}–{b:g} ({n})" for (a, b), n in zip(sweep.bands, sweep.coefficients, strict=True)]
    rows = [[training, *_sweep_cells(part.sweep)] for training, part in found.items()]
    parts.append(_table(["L2 in one band: training", "all", *heads], rows))
    return "\n\n".join(parts)


def _share_cells(found: Measured, norm: "Norm") -> list[str]:
    outcome = found.outcomes[norm]
    names = (
        *("low_share", "mid_share", "high_share", "centroid_cycles_per_image"),
        *("half_power_cycles_per_image", "mean_share"),
    )
    clean = "" if outcome.clean_accuracy is None else f"{outcome.clean_accuracy:.3f}"
    robust = _with(outcome.robust_accuracy, outcome.robust_accuracy_interval)
    return [clean, robust, *_estimates(found.spectrum(norm), names)]


def _started_cells(found: Measured, norm: "Norm") -> list[str]:
    outcome = found.started[norm]
    robust = _with(outcome.robust_accuracy, outcome.robust_accuracy_interval)
    names = ("low_share", "mid_share", "high_share", "centroid_cycles_per_image")
    return [robust, *([] if outcome.perturbation is None else _estimates(outcome.perturbation, names))]


def _estimates(result: PerturbationSpectrum, names: tuple[str, ...]) -> list[str]:
    return [_with(getattr(result, name), result.interval(name)) for name in names]


def _measure_cells(found: Measured, norm: "Norm") -> list[str]:
    """Means of low and high coefficients in thousandths, and the interval of their difference."""
    cells = []
    for name in MEASURES:
        measure = found.spectrum(norm).measure(name)
        low, _, high = 1000 * measure.band_mean
        ends = 1000 * measure.low_minus_high_interval
        sign = "low" if ends[0] > 0 else "high" if ends[1] < 0 else "neither"
        cells.append(f"{low:.3g} : {high:.3g}, {sign} [{ends[0]:.2g}, {ends[1]:.2g}]")
    return cells


def _replacement_cells(found: Measured, norm: "Norm") -> list[str]:
    result = found.replacements[norm]
    low, high = result.low_pass_half, result.high_pass_half
    share = "–"
    if low.radius is not None:
        share = f"{result.energy_share[result.radii.index(low.radius)]:.2f}"
    return [str(result.broken), _radius(low), _radius(high), share]


def _radius(half: Any) -> str:
    if half.radius is None:
        return "–"
    low, high = ("–" if end is None else f"{end:g}" for end in half.interval)
    return f"{half.radius:g} [{low}, {high}]"


def _clean_cells(result: PerturbationSpectrum) -> list[str]:
    profile = np.concatenate([[0.0], np.asarray(result.clean_ring_sum_share)])
    limits = result.to_dict()["band_limits_cycles_per_image"]
    edges = [1, limits[0] + 1, limits[1] + 1, len(profile)]
    return [f"{profile[a:b].sum():.3f}" for a, b in pairwise(edges)]


def _sweep_cells(result: AdversarialBandSweep) -> list[str]:
    return [
        _with(result.unconfined_robust_accuracy, result.unconfined_robust_accuracy_interval),
        *(
            _with(value, bounds)
            for value, bounds in zip(result.robust_accuracy, result.robust_accuracy_interval, strict=True)
        ),
    ]


def _with(value: float, interval: Any) -> str:
    low, high = interval
    digits = 3 if abs(value) < 1 else 2
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spectrum_figure(found: dict[str, Measured]) -> Figure:
    """Ring sums of the power: a row a norm and one of the gradients, a column a model."""
    kinds: tuple[Norm | None, ...] = (*NORMS, None)
    figure = Figure(figsize=(4.2 * len(found), 9.6), layout="constrained")
    axes = figure.subplots(len(kinds), len(found), sharex=True, squeeze=False)
    for (row, column), axis in np.ndenumerate(axes):
        training, norm = list(found)[column], kinds[row]
        part = found[training]
        draw_ring_sums(axis, part.gradient if norm is None else part.spectrum(norm))
        name = "gradient" if norm is None else f"{NORMS[norm]} perturbation"
        _trim(axis, f"{training}: {name}", row, column, last=len(kinds) - 1)
    return figure


def measures_figure(found: dict[str, Measured]) -> Figure:
    """Ring means of the four measures: a row a norm, a curve a model."""
    figure = Figure(figsize=(16, 7.2), layout="constrained")
    axes = figure.subplots(len(NORMS), len(MEASURES), sharex=True)
    for (row, column), axis in np.ndenumerate(axes):
        norm, key = list(NORMS)[row], list(MEASURES)[column]
        for (training, part), colour, marker in zip(found.items(), COLOURS, MARKERS, strict=False):
            spectrum = part.spectrum(norm)
            measure, rings = spectrum.measure(key), spectrum.cycles_per_image
            axis.fill_between(rings, *measure.ring_mean_interval.T, color=colour, alpha=0.25, linewidth=0)
            axis.plot(
                rings,
                measure.ring_mean,
                color=colour,
                marker=marker,
                markersize=3,
                linewidth=1.3,
                label=training,
            )
        axis.axhline(0, color="black", linewidth=0.6)
        axis.set_title(f"{MEASURES[key]}, {NORMS[norm]}", fontsize="medium")
        axis.grid(alpha=0.3)
        if row == len(NORMS) - 1:
            axis.set_xlabel("spatial frequency (cycles per image)")
        if column == 0:
            axis.set_ylabel("mean of the ring's cells")
    axes[0, 0].legend(fontsize="small")
    return figure


def replacement_figure(found: dict[str, Measured]) -> Figure:
    """What each part of the perturbation breaks alone: a row a norm, a column a model."""
    figure = Figure(figsize=(4.4 * len(found), 7.6), layout="constrained")
    axes = figure.subplots(len(NORMS), len(found), sharex=True, sharey=True, squeeze=False)
    for (row, column), axis in np.ndenumerate(axes):
        training, norm = list(found)[column], list(NORMS)[row]
        result = found[training].replacements[norm]
        if result.broken:
            draw_damage(axis, result)
            axis.set_ylabel("share of the broken images")
        else:
            axis.text(0.5, 0.5, "no image is broken", ha="center", transform=axis.transAxes)
        name = f"{training}: {NORMS[norm]}, {result.broken} broken"
        _trim(axis, name, row, column, last=len(NORMS) - 1)
    return figure


def sweep_figure(found: dict[str, Measured]) -> Figure:
    """Robust accuracy by band, a column a model."""
    figure = Figure(figsize=(4.4 * len(found), 4.2), layout="constrained")
    axes = figure.subplots(1, len(found), sharey=True, squeeze=False)
    for (row, column), axis in np.ndenumerate(axes):
        training = list(found)[column]
        draw_sweep(axis, found[training].sweep)
        axis.set_xlabel("band (cycles per image)")
        _trim(axis, training, row, column, last=0)
    return figure


def _trim(axis: "Axes", title: str, row: int, column: int, *, last: int) -> None:
    """Labels at the edges of the figure alone, and one legend, above it."""
    axis.set_title(title, fontsize="medium")
    legend = axis.get_legend()
    if legend is not None:
        legend.remove()
    if row == 0 and column == 0:
        handles, labels = axis.get_legend_handles_labels()
        figure = axis.get_figure()
        if figure is not None:
            figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    if row < last:
        axis.set_xlabel("")
    if column:
        axis.set_ylabel("")


def main() -> int:
    """Write the figures, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--sweep-images", type=int, default=100)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--sweep-steps", type=int, default=20)
    parser.add_argument("--only", choices=tuple(FAMILIES), help="one family instead of both")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "figures")
    chosen = parser.parse_args()
    folder = os.environ.get("SPECPROBE_ASSETS")
    if not folder or not all(Path(folder, family.data).exists() for family in FAMILIES.values()):
        sys.stderr.write(
            "SPECPROBE_ASSETS names no folder that holds the models and images of docs/perturbation_triple.md; set it\n"
        )
        return 1
    chosen.output.mkdir(parents=True, exist_ok=True)
    for name in FAMILIES if chosen.only is None else (chosen.only,):
        family = FAMILIES[name]
        found = {training: measured(Path(folder), family, training, chosen) for training in family.models}
        for kind, figure in (
            ("spectrum", spectrum_figure(found)),
            ("measures", measures_figure(found)),
            ("replacement", replacement_figure(found)),
            ("sweep", sweep_figure(found)),
        ):
            save(figure, chosen.output / f"perturbation_{name}_{kind}.png", suffix=".png", dpi=90)
        sys.stdout.write(f"## {name}\n\n{tables(found)}\n\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
