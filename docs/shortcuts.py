"""Figure and tables of the page on frequency shortcuts, from the models of this repository.

python docs/shortcuts.py [-o docs/figures]
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import specprobe
from specprobe.analysis.frequency_shortcuts_deletion import frequency_deletion
from specprobe.analysis.frequency_shortcuts_search import frequency_shortcuts
from specprobe.report.figures import draw, save
from specprobe.spectral.masks import band_pass

if TYPE_CHECKING:
    from specprobe.analysis.frequency_shortcuts_rates import FrequencyShortcuts
    from specprobe.analysis.frequency_shortcuts_result import FrequencyDeletion

MODELS = Path(__file__).resolve().parent.parent / "models"
PLANTED = {"low": [(3, 5)], "mid": [(7, 9)], "high": [(13, 15)], "low_high": [(3, 5), (13, 15)]}
SHARES = (0.01, 0.05)


def halves(network: str, data: str) -> tuple[Any, tuple[Any, Any], tuple[Any, Any]]:
    """A network, and the first and second half of its images, each with labels."""
    images = specprobe.load_images(MODELS / data)
    middle, end = images.images // 2, images.images
    parts = [images.read(start, stop) for start, stop in ((0, middle), (middle, end))]
    first, second = ((part.images, part.labels) for part in parts)
    return specprobe.load(MODELS / network, image_shape=images.image_shape), first, second


def evidence(variant: str) -> Any:
    """Frequencies that speak for each class: of the planted bands, those in the wedges of its orientations."""
    inside = [band_pass((32, 32), low=low, high=high) for low, high in PLANTED[variant]]
    f = np.arange(32) - 16
    wedge = np.floor((np.degrees(np.arctan2(f[:, None], f[None, :])) + 22.5) / 45).astype(int) % 4
    if len(inside) == 1:
        return np.stack([inside[0] & (wedge == label) for label in range(4)])
    low, high = inside
    return np.stack([(low & (wedge // 2 == c // 2)) | (high & (wedge // 2 == c % 2)) for c in range(4)])


def planted_row(variant: str) -> list[str]:
    """How much of the maps is evidence for their class, ranked exactly and to first order."""
    network, first, second = halves(f"bands/{variant}.onnx", f"bands/{variant}.npz")
    exact = frequency_deletion(network, *first)
    ranked = frequency_deletion(network, *first, method="first-order")
    known = evidence(variant)
    cells = [f"`{variant}`", _range([int(cells.sum() // 2) for cells in known], "d")]
    for share in SHARES:
        cells += [_range(_evident(result, known, share), ".2f") for result in (exact, ranked)]
    rates = frequency_shortcuts(network, *second, deletion=exact, keep=SHARES)
    cells.append(_range(np.asarray(exact.rank_correlation).tolist(), ".2f"))
    for name in ("true_positive_rate", "false_positive_rate"):
        cells.append(", ".join(f"{rate:.2f}" for rate in getattr(rates, name)[:, 0]))
    return cells


def _evident(result: "FrequencyDeletion", known: Any, share: float) -> list[float]:
    kept = result.dominant_maps(share)
    kept[:, 16, 16] = False
    return [float((of & cells).sum() / of.sum()) for of, cells in zip(kept, known, strict=True)]


def _range(values: list[Any], form: str) -> str:
    low, high = f"{min(values):{form}}", f"{max(values):{form}}"
    return low if low == high else f"{low}–{high}"


def digit_rows(result: "FrequencyShortcuts") -> list[list[str]]:
    """A row a digit."""
    deletion, rows = result.deletion, []
    for row, part in enumerate(result.to_dict()["per_class"]):
        top = np.argwhere(deletion.patches.index == deletion.dominant_patches(SHARES[0])[row, 0])[-1] - 8
        cells = [str(part["label"]), f"({top[0]}, {top[1]})", f"{deletion.increase[row].max():.2f}"]
        for i in range(len(SHARES)):
            for name in ("true_positive_rate", "false_positive_rate"):
                low, high = part[f"{name}_interval"][i]
                cells.append(f"{part[name][i]:.2f} [{low:.2f}, {high:.2f}]")
        random = [part[f"random_{name}_positive_rate"][1] for name in ("true", "false")]
        rows.append([*cells, ", ".join(f"{rate:.2f}" for rate in random), f"{part['rank_correlation']:.2f}"])
    return rows


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> int:
    """Measure, draw the digits, print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "figures")
    output = parser.parse_args().output
    network, first, second = halves("digits/normal.onnx", "digits/test.npz")
    digits = frequency_shortcuts(network, *second, deletion=frequency_deletion(network, *first))
    output.mkdir(parents=True, exist_ok=True)
    save(draw(digits, title="digits/normal.onnx"), output / "shortcuts.png", suffix=".png", dpi=80)
    top = [f"{kind}, top {100 * share:g} %" for share in SHARES for kind in ("exact", "first order")]
    rates = [f"{kind} positives" for kind in ("true", "false")]
    sys.stdout.write(
        _table(["model", "evidence", *top, "rank correlation", *rates], [planted_row(v) for v in PLANTED])
        + "\n\n"
        + _table(["digit", "top", "worth", *rates, *rates, "random", "rank correlation"], digit_rows(digits))
        + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
