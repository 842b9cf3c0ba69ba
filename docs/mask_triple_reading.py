"""What the masks of one architecture trained in three ways say: figures and numbers, from masks that are learned already.

SPECPROBE_ASSETS=FOLDER python docs/mask_triple.py --per-image 100 --masks DIR
python docs/mask_triple_reading.py --masks DIR [-o docs/figures]
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mask_triple import FAMILIES
from matplotlib.figure import Figure

from specprobe.analysis.mask_reading import mask_difference
from specprobe.analysis.mask_reading_bias import NUMBERS, mask_numbers
from specprobe.analysis.mask_reading_probe import mask_probe
from specprobe.report.figures import save
from specprobe.report.mask_reading import draw_difference_map
from specprobe.results import read_results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from specprobe.analysis.mask_reading_result import MaskDifference
    from specprobe.analysis.mask_result import FourierMask

BANDS = 16
COLOURS, MARKERS = ("#0072B2", "#D55E00"), ("o", "s")
SHOWN = tuple(name for name in NUMBERS if name != "mid_share")


def read(folder: Path, kind: str) -> "dict[str, dict[str, FourierMask]]":
    """Masks by data and training."""
    return {
        family: {
            training: read_results(folder / f"{name}_{kind}.npz")[0][1] for training, name in models.items()
        }
        for family, (*_, models) in FAMILIES.items()
    }


def chosen(first: "FourierMask", second: "FourierMask", which: str) -> "np.ndarray[Any, Any]":
    """All images, or those that both networks get right."""
    right = np.asarray(first.image_correct) & np.asarray(second.image_correct)
    return np.ones_like(right) if which == "all" else right


def differences(
    each: "dict[str, FourierMask]", which: str, bands: int = BANDS
) -> "dict[str, MaskDifference]":
    """Of each other training and the first."""
    normal, *others = each.items()
    return {
        f"{training} − {normal[0]}": mask_difference(
            masks, normal[1], images=chosen(masks, normal[1], which), bands=bands
        )
        for training, masks in others
    }


def tables(shared: "dict[str, dict[str, FourierMask]]", each: "dict[str, dict[str, FourierMask]]") -> str:
    """The page's tables."""
    parts = [
        _table(
            ["data", "training", *NUMBERS],
            [
                [family, training, *(f"{x:.3f}" for x in mask_numbers(np.asarray(result.masks))[0])]
                for family, masks in shared.items()
                for training, result in masks.items()
            ],
        )
    ]
    for which in ("right", "all"):
        rows = []
        for family, masks in each.items():
            for pair, found in differences(masks, which).items():
                content = found.to_dict()
                cells = [
                    _with(content[f"{name}_difference"], content[f"{name}_difference_interval"])
                    for name in SHOWN
                ]
                rows.append([family, pair, str(found.masks), *cells])
        parts.append(_table(["data", f"pair, images {which}", "images", *SHOWN], rows))
    rows = []
    for family, masks in each.items():
        for pair, found in differences(masks, "right").items():
            rows.append([family, pair, *_signs(found, "radial")])
    parts.append(_table(["data", "pair", "more at", "less at", "not told apart at"], rows))
    rows = []
    for family, masks in each.items():
        for training, result in masks.items():
            probe = mask_probe(
                np.asarray(result.mask), np.asarray(result.image_class), test_share=0.3, scrambles=99
            )
            rows.append(
                [
                    family,
                    training,
                    f"{result.complement_agreement:.2f}",
                    _with(probe.test_accuracy, probe.test_accuracy_interval),
                    f"{probe.test_chance:.2f}",
                    f"{np.mean(probe.scrambled_test_accuracy):.2f}",
                    f"{probe.p_value:.2f}",
                ]
            )
    names = ("complement agreement", "probe", "chance", "scrambled", "p")
    parts.append(_table(["data", "training", *names], rows))
    return "\n\n".join(parts)


def _signs(found: "MaskDifference", profile: str) -> list[str]:
    """Bands whose interval is above 0, below 0, and the others that hold any energy."""
    low, high = np.asarray(getattr(found, f"{profile}_difference_interval")).T
    centres = found.radial_centres
    empty = np.isnan(low) | ((low == 0) & (high == 0))
    groups = [low > 0, high < 0, ~(low > 0) & ~(high < 0) & ~empty]
    return [", ".join(f"{c:.1f}" for c in centres[group]) or "none" for group in groups]


def _with(value: float, interval: Any) -> str:
    return f"{value:+.3f} [{interval[0]:+.3f}, {interval[1]:+.3f}]".replace("-", "−")


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(
        [
            "| " + " | ".join(head) + " |",
            "|" + "---|" * len(head),
            *("| " + " | ".join(row) + " |" for row in rows),
        ]
    )


def figure(each: "dict[str, dict[str, FourierMask]]") -> Figure:
    """A row a data set: differences by radius, by direction, and the two maps."""
    drawn = Figure(figsize=(17, 4.1 * len(each)), layout="constrained")
    axes = drawn.subplots(len(each), 4, squeeze=False)
    for row, (family, masks) in zip(axes, each.items(), strict=True):
        found = differences(masks, "right")
        for place, (pair, result) in enumerate(found.items()):
            _profile(row[0], result, "radial", place, pair)
            _profile(row[1], result, "angular", place, pair)
            draw_difference_map(row[2 + place], result)
            row[2 + place].set_title(f"{family}: {pair}", fontsize="medium")
        row[0].set_title(f"{family}, masks of images that both get right", fontsize="medium")
        row[0].set_xlabel("radius (cycles per image)")
        row[1].set_xlabel("direction (degrees)")
        row[1].set_xticks(np.arange(0, 181, 45))
        row[0].set_ylabel("difference of energy")
        row[0].legend(fontsize="small", frameon=False)
    return drawn


def _profile(axis: "Axes", result: "MaskDifference", profile: str, place: int, label: str) -> None:
    values = getattr(result, f"{profile}_difference")
    interval = np.asarray(getattr(result, f"{profile}_difference_interval"))
    centres = result.radial_centres
    if profile == "angular":  # k and −k lie in opposite wedges: half a turn says all
        values, interval = values[: BANDS // 2], interval[: BANDS // 2]
        centres = (np.arange(BANDS // 2) + 0.5) * 360 / BANDS
    held = ~np.isnan(values)
    axis.axhline(0, color="black", linewidth=0.8)
    axis.errorbar(
        centres[held] + (place - 0.5) * 0.01 * centres.max(),
        values[held],
        yerr=np.abs(interval[held].T - values[held]),
        color=COLOURS[place],
        marker=MARKERS[place],
        markersize=3.5,
        linewidth=1.2,
        capsize=2,
        label=label,
    )
    axis.grid(alpha=0.3)


def main() -> int:
    """Read all masks, write figure and tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--masks", type=Path, required=True, help="folder of docs/mask_triple.py --per-image N"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "figures")
    options = parser.parse_args()
    shared, each = (read(options.masks, kind) for kind in ("shared", "per_image"))
    options.output.mkdir(parents=True, exist_ok=True)
    save(figure(each), options.output / "mask_triple_reading.png", suffix=".png", dpi=80)
    sys.stdout.write(tables(shared, each) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
