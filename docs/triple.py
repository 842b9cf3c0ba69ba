"""Figures and numbers of the page that compares one architecture trained in three ways.

python docs/triple.py [--images 300] [--heatmap-images 100] [-o docs/figures]

The environment variable SPECPROBE_ASSETS names the folder of the third-party models and images, which are not part of
this repository.
"""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

import specprobe
from specprobe.analysis.band_result import BandAccuracy
from specprobe.analysis.heatmap_first_order import rank_correlation, rank_correlation_interval
from specprobe.analysis.heatmap_result import FourierHeatmap
from specprobe.analysis.sensitivity_result import FourierSensitivity
from specprobe.intervals import mean_interval
from specprobe.report.figures import save
from specprobe.spectral.grid import frequencies, radius, real_frequencies, ring_bands, rings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.protocols import ImageSource

MODELS = {"normal": "standard", "FGSM 8/255": "fgsm", "PGD 8/255": "pgd"}
DATA = "data/cifar10_lossless_test.npz"
RADII = tuple(range(1, 25))
SHOWN = (1, 2, 4, 8, 12, 16)
BANDS = ("low", "mid", "high")
BLUE, RED, GREEN = "#0072B2", "#D55E00", "#009E73"


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was measured on one model. Heat maps are by band, so that each band has a value an image."""

    sensitivity: FourierSensitivity
    bands: BandAccuracy
    heatmaps: dict[str, FourierHeatmap]

    def heatmap(self, name: str) -> "NDArray[np.float64]":
        """The map that the bands' parts add up to."""
        parts = np.stack([getattr(part, name) for part in self.heatmaps.values()])
        whole: NDArray[np.float64] = np.nanmax(parts, axis=0)
        return whole


def measured(path: Path, images: "ImageSource", limit: int, heatmap_limit: int) -> Findings:
    """All three analyses."""
    network = specprobe.load(path, image_shape=images.image_shape)
    shape = (images.image_shape[1], images.image_shape[2])
    grid = real_frequencies(shape)
    f_y, f_x = grid.T
    ring = rings(shape)[f_y + shape[0] // 2, f_x + shape[1] // 2]
    low, mid, high = ring_bands(shape)
    chosen = {
        "mean": ring == 0,
        "low": (ring >= low.start) & (ring < low.stop),
        "mid": (ring >= mid.start) & (ring < mid.stop),
        "high": ring >= high.start,
    }
    return Findings(
        sensitivity=specprobe.fourier_sensitivity(network, images, limit=limit),
        bands=specprobe.band_accuracy(network, images, radii=RADII, limit=limit),
        heatmaps={
            name: specprobe.fourier_heatmap(network, images, frequencies=grid[which], limit=heatmap_limit)
            for name, which in chosen.items()
        },
    )


def tables(found: dict[str, Findings]) -> str:
    """The page's tables."""
    white = next(iter(found.values())).sensitivity
    low, mid, high = ring_bands(white.map_shape)
    noise = np.concatenate([[0.0], white.white_noise_share])
    rows = [[name, *_sensitivity_cells(f.sensitivity)] for name, f in found.items()]
    rows.append(["white noise", *(f"{noise[part].sum():.3f}" for part in (low, mid, high)), "", "", ""])
    parts = [
        _table(["training", *BANDS, "centroid", "peak ring", "median gradient norm"], rows),
        _table(
            ["training", "clean error", *(f"{what} {band}" for what in ("error", "loss") for band in BANDS)],
            [[name, *_heatmap_cells(f)] for name, f in found.items()],
        ),
        _table(
            ["training", "with error rate", "with loss increase"],
            [[name, *_correlations(f)] for name, f in found.items()],
        ),
        _table(
            ["training", "clean", *(f"low-pass {r}" for r in SHOWN), "`radius_95`"],
            [[name, *_band_cells(f.bands, "low_pass")] for name, f in found.items()],
        ),
        _table(
            ["training", *(f"high-pass {r}" for r in SHOWN)],
            [[name, *_band_cells(f.bands, "high_pass")[1:-1]] for name, f in found.items()],
        ),
    ]
    return "\n\n".join(parts)


def _sensitivity_cells(result: FourierSensitivity) -> list[str]:
    content = result.to_dict()
    names = ("low_share", "mid_share", "high_share", "centroid_cycles_per_image")
    norms = result.image_gradient_l2_norm
    return [
        *(_with(content[name], content[f"{name}_interval"]) for name in names),
        str(1 + int(np.argmax(result.power_share))),
        "" if norms is None else f"{np.median(norms):.2f}",
    ]


def _heatmap_cells(found: Findings) -> list[str]:
    parts = [found.heatmaps[name] for name in BANDS]
    clean = _with(parts[0].clean_error_rate, parts[0].clean_error_rate_interval)
    cells = [clean]
    for name, bounds in (("image_error_rate", (0.0, 1.0)), ("image_loss_increase", (-np.inf, np.inf))):
        for part in parts:
            values = np.asarray(getattr(part, name))
            mean = float(values.mean())
            cells.append(_with(mean, mean_interval(mean, values.std(), values.size, bounds=bounds)))
    return cells


def _correlations(found: Findings) -> list[str]:
    """Of the map of sensitivity and the heat map, over the frequencies but the mean."""
    shape = found.sensitivity.map_shape
    f_y, f_x = real_frequencies(shape).T
    f_y, f_x = (part[(f_y != 0) | (f_x != 0)] for part in (f_y, f_x))
    at = (f_y + shape[0] // 2, f_x + shape[1] // 2)
    power = np.asarray(found.sensitivity.power_map)[at]
    cells = []
    for name in ("error_rate", "loss_increase"):
        ranked = rank_correlation(power, found.heatmap(name)[at])
        cells.append(_with(ranked, rank_correlation_interval(ranked, len(power))))
    return cells


def _band_cells(result: BandAccuracy, kind: str) -> list[str]:
    content = result.to_dict()
    entries = {entry["radius"]: entry for entry in content[kind]}
    shown = [_with(entries[r]["accuracy"], entries[r]["accuracy_interval"]) for r in SHOWN]
    low, high = ("–" if end is None else f"{end:g}" for end in content["radius_95_interval"] or (None, None))
    saturated = "–" if content["radius_95"] is None else f"{content['radius_95']:g} [{low}, {high}]"
    return [_with(content["clean_accuracy"], content["clean_accuracy_interval"]), *shown, saturated]


def _with(value: float, interval: Any) -> str:
    low, high = interval
    digits = 3 if abs(value) < 1 else 2
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def sensitivity_figure(found: dict[str, Findings]) -> Figure:
    """Profiles side by side."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes = figure.subplots(1, len(found), sharex=True, sharey=True)
    for axis, (name, findings) in zip(axes, found.items(), strict=True):
        result = findings.sensitivity
        low, high = result.power_share_interval.T
        axis.fill_between(
            result.cycles_per_image, low, high, color=BLUE, alpha=0.3, linewidth=0, label="95 % interval"
        )
        axis.plot(
            result.cycles_per_image, result.power_share, color=BLUE, marker="o", markersize=3, label="mean"
        )
        axis.plot(
            result.cycles_per_image,
            result.white_noise_share,
            color=RED,
            linestyle="--",
            linewidth=1.2,
            label="white noise",
        )
        for edge in (5.5, 10.5):
            axis.axvline(edge, color="grey", linestyle=":", linewidth=0.8)
        axis.set_title(name, fontsize="medium")
        axis.set_xlabel("spatial frequency (cycles per image)")
        axis.grid(alpha=0.3)
    axes[0].set_ylim(0, None)
    axes[0].set_ylabel("share of power (ring sums)")
    axes[-1].legend(fontsize="small")
    return figure


def heatmap_figure(found: dict[str, Findings]) -> Figure:
    """Error rates above, loss increases below, one scale a row."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.subplots(2, len(found), sharex=True, sharey=True)
    increases = [f.heatmap("loss_increase") for f in found.values()]
    scales = {
        "error_rate": ("error rate", 0.0, 1.0),
        "loss_increase": (
            "loss increase (nats)",
            min(0.0, *(m.min() for m in increases)),
            max(m.max() for m in increases),
        ),
    }
    for row, (kind, (label, lowest, highest)) in zip(axes, scales.items(), strict=True):
        for axis, (name, findings) in zip(row, found.items(), strict=True):
            shown = findings.heatmap(kind)
            f_y, f_x = frequencies((shown.shape[0], shown.shape[1]))
            image = axis.imshow(
                shown,
                cmap="viridis",
                vmin=lowest,
                vmax=highest,
                extent=(f_x[0] - 0.5, f_x[-1] + 0.5, f_y[-1] + 0.5, f_y[0] - 0.5),
                interpolation="nearest",
            )
            turn = np.linspace(0, 2 * np.pi, 200)
            for edge in (5.5, 10.5):
                axis.plot(
                    edge * np.cos(turn), edge * np.sin(turn), color="white", linestyle=":", linewidth=0.9
                )
            if kind == "error_rate":
                clean = findings.heatmaps["low"].clean_error_rate
                axis.set_title(f"{name} (clean {clean:.2f})", fontsize="medium")
            else:
                axis.set_xlabel("horizontal frequency (cycles per image)")
        row[0].set_ylabel("vertical frequency (cycles per image)")
        figure.colorbar(image, ax=list(row), label=label)
    return figure


def bands_figure(found: dict[str, Findings]) -> Figure:
    """Accuracy over the cut-off, side by side."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    axes = figure.subplots(1, len(found), sharex=True, sharey=True)
    for axis, (name, findings) in zip(axes, found.items(), strict=True):
        content = findings.bands.to_dict()
        for kind, label, colour, marker in (
            ("low_pass", "low-pass", BLUE, "o"),
            ("high_pass", "high-pass", RED, "s"),
        ):
            low, high = np.array([entry["accuracy_interval"] for entry in content[kind]]).T
            axis.fill_between(RADII, low, high, color=colour, alpha=0.25, linewidth=0)
            values = [entry["accuracy"] for entry in content[kind]]
            axis.plot(RADII, values, color=colour, marker=marker, markersize=3.5, linewidth=1.4, label=label)
        axis.axhline(content["clean_accuracy"], color="black", linestyle="--", linewidth=1, label="clean")
        axis.axhline(content["chance"], color="grey", linestyle=":", linewidth=1.2, label="chance")
        saturated = content["radius_95"]
        if saturated is not None:
            start, stop = content["radius_95_interval"]
            end = float(radius(findings.bands.image_size).max()) if stop is None else stop
            axis.plot([start, end], [0.03, 0.03], color=GREEN, linewidth=4, alpha=0.5)
            axis.plot(
                [saturated],
                [0.03],
                color=GREEN,
                marker="^",
                markersize=7,
                linestyle="none",
                label="radius_95",
            )
        axis.set_title(name, fontsize="medium")
        axis.set_xlabel("cut-off (cycles per image)")
        axis.grid(alpha=0.3)
    axes[0].set_ylim(0, 1)
    axes[0].set_ylabel("accuracy")
    axes[-1].legend(fontsize="small", ncols=2)
    return figure


def main() -> int:
    """Write the figures, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--heatmap-images", type=int, default=100)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "figures")
    chosen = parser.parse_args()
    folder = os.environ.get("SPECPROBE_ASSETS")
    if not folder or not Path(folder, DATA).exists():
        sys.stderr.write(
            "SPECPROBE_ASSETS names no folder that holds the models and images of docs/triple.md; set it\n"
        )
        return 1
    found = {}
    for name, training in MODELS.items():
        images = specprobe.load_images(Path(folder, DATA))
        path = Path(folder, "models", f"cifar10_ada_resnet4b_{training}.onnx")
        found[name] = measured(path, images, chosen.images, chosen.heatmap_images)
    chosen.output.mkdir(parents=True, exist_ok=True)
    for name, figure in (
        ("sensitivity", sensitivity_figure(found)),
        ("heatmap", heatmap_figure(found)),
        ("bands", bands_figure(found)),
    ):
        save(figure, chosen.output / f"triple_{name}.png", suffix=".png", dpi=90)
    sys.stdout.write(tables(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
