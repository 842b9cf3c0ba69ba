"""From coarse to fine: planted bands are found with fewer evaluations, and no cell is another than without."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specprobe.analysis.heatmap import FourierHeatmap, fourier_heatmap
from specprobe.analysis.heatmap_frequencies import lattice
from specprobe.analysis.heatmap_merge import joined
from specprobe.analysis.heatmap_refinement import further_frequencies
from specprobe.errors import CheckpointError, InputMismatch
from specprobe.intervals import wilson_interval
from specprobe.results import document, dump_json, from_document, pack, unpack
from specprobe.spectral.grid import frequency_index, radius, rings
from specprobe.streaming import Checkpoint

SHAPE = (32, 32)


class Planted:
    """Errs on most images where the power within a band is large; counts the images it is shown."""

    classes = 2

    def __init__(self, inside: Any) -> None:
        self.inside = np.fft.ifftshift(inside)
        self.shown = 0

    def logits(self, images: Any, /) -> Any:
        self.shown += len(images)
        rows = []
        for image in images:  # row by row: the bits of a transform may hang on how many there are
            spectrum = np.fft.fft2(image[0].astype(np.float64), norm="ortho")
            # What an image has of its own in the band shifts its threshold.
            rows.append([0.0, np.sqrt((np.abs(spectrum[self.inside]) ** 2).sum()) - 3])
        return np.array(rows)


def ring(low: float, high: float, shape: tuple[int, int] = SHAPE) -> Any:
    return (radius(shape) >= low) & (radius(shape) < high)


def grey(count: int, shape: tuple[int, int] = SHAPE) -> Any:
    rng = np.random.default_rng(0)
    return (0.5 + rng.normal(size=(count, 1, *shape)) * 0.02).astype(np.float32)


def measured(classifier: Planted, images: Any, **settings: Any) -> FourierHeatmap:
    labels = np.zeros(len(images), np.int64)
    return fourier_heatmap(classifier, images, labels, clip=False, random_sign=False, **settings)


@pytest.mark.parametrize("band", [(7.5, 8.5), (3.5, 4.5), (11, 12.5)])
def test_a_narrow_band_is_found_with_fewer_evaluations(band: tuple[float, float]) -> None:
    inside, images = ring(*band), grey(8)
    whole, part = Planted(inside), Planted(inside)
    wanted = measured(whole, images)
    found = measured(part, images, refine=4)
    assert wanted.error_rate[inside].min() > 0.9
    assert wanted.error_rate[~inside].max() == 0
    assert found.evaluated_cells[inside].all(), "every cell of the band"
    assert found.model_evaluations == part.shown < 0.65 * whole.shown
    assert wanted.model_evaluations == whole.shown


def same_cells(found: FourierHeatmap, wanted: FourierHeatmap) -> None:
    cells = found.evaluated_cells
    assert 0 < cells.sum() < cells.size
    for name in ("error_rate", "loss_increase", "error_rate_interval", "loss_increase_interval"):
        mine, its = getattr(found, name), getattr(wanted, name)
        assert np.array_equal(mine[cells], its[cells])
        assert np.isnan(mine[~cells]).all(), "what was not measured is no number"


@pytest.mark.parametrize("phase", ["0", "random", "worst-of-two"])
@pytest.mark.parametrize("stride", [2, 4, 8])
def test_cells_are_those_of_the_whole_map_to_the_bit(phase: Any, stride: int) -> None:
    shape = (12, 16)
    inside, images = ring(4, 5, shape), grey(17, shape)
    settings: dict[str, Any] = {"phase": phase, "seed": 3}
    wanted = measured(Planted(inside), images, **settings)
    found = measured(Planted(inside), images, refine=stride, **settings)
    same_cells(found, wanted)
    assert found.image_ring_error_rate is not None
    assert wanted.image_ring_error_rate is not None
    full = [found.evaluated_cells[rings(shape) == r].all() for r in range(int(rings(shape).max()) + 1)]
    assert any(full)
    mine, its = found.image_ring_error_rate[:, full], wanted.image_ring_error_rate[:, full]
    assert np.allclose(mine, its, atol=1e-6)


def test_a_map_that_changes_nowhere_is_left_at_the_coarse_grid() -> None:
    nothing = Planted(np.zeros(SHAPE, bool))
    found = measured(nothing, grey(5), refine=4)
    rows, columns = lattice(SHAPE, None, 4)
    assert (rows - 16).tolist() == [-16, -12, -8, -4, 0, 4, 8, 12, 15]
    index = frequency_index(SHAPE)
    assert set(np.flatnonzero(found.evaluated)) == set(index[np.ix_(rows, columns)].ravel().tolist())
    assert found.refinement_levels == ((4, found.frequencies_evaluated),)
    assert nothing.shown == found.model_evaluations == 5 * (1 + found.frequencies_evaluated)


def test_clean_images_count_in_every_pass() -> None:
    classifier = Planted(ring(7.5, 8.5))
    found = measured(classifier, grey(20), refine=4)
    levels = found.refinement_levels
    assert [stride for stride, _ in levels] == sorted((stride for stride, _ in levels), reverse=True)
    assert sum(count for _, count in levels) == found.frequencies_evaluated
    assert found.model_evaluations == 20 * (len(levels) + found.frequencies_evaluated)


def coarse(errors: dict[tuple[int, int], int], losses: dict[tuple[int, int], float]) -> FourierHeatmap:
    """A map of 9 by 9 cells on the grid of stride 4, with some cells set; 40 images."""
    shape = (9, 9)
    index = frequency_index(shape)
    rows, columns = lattice(shape, None, 4)
    evaluated = np.zeros(index.max() + 1, bool)
    evaluated[index[np.ix_(rows, columns)]] = True
    counts, mean = np.zeros(len(evaluated), np.int64), np.where(evaluated, 0.0, np.nan)
    for (f_y, f_x), count in errors.items():
        counts[index[f_y + 4, f_x + 4]] = count
    for (f_y, f_x), loss in losses.items():
        mean[index[f_y + 4, f_x + 4]] = loss
    return FourierHeatmap(
        image_size=shape,
        l2_norm_per_channel=4.0,
        basis_phase="0",
        random_sign=False,
        clip=False,
        seed=0,
        target="true",
        images=40,
        clean_errors=0,
        model_evaluations=0,
        evaluated=evaluated,
        errors=counts,
        mean_loss_increase=mean,
        loss_increase_std=np.where(evaluated, 0.01, np.nan),
        refine=4,
        refinement_levels=((4, int(evaluated.sum())),),
    )


def wanted_cells(result: FourierHeatmap) -> set[tuple[int, int]]:
    found = further_frequencies(result, None)
    if found is None:
        return set()
    assert found[0] == 2
    cells = result.of_cells(found[1])
    return {(int(y) - 4, int(x) - 4) for y, x in np.argwhere(cells)}


def test_neighbours_are_evaluated_where_intervals_of_the_error_rate_do_not_overlap() -> None:
    apart = next(n for n in range(41) if wilson_interval(n, 40)[0] > wilson_interval(0, 40)[1])
    assert wanted_cells(coarse({(0, 0): apart - 1}, {})) == set()
    # What is next, in grid 2, to the middle and to another point of grid 4: the square around the middle.
    wanted = {(y, x) for y in (-2, 0, 2) for x in (-2, 0, 2)} - {(0, 0)}
    assert wanted_cells(coarse({(0, 0): apart}, {})) == wanted


def test_all_neighbours_of_what_differs_are_evaluated_before_a_finer_grid() -> None:
    result = coarse({(0, 0): 20}, {})
    seen = []
    while (step := further_frequencies(result, None)) is not None:
        stride, wanted = step
        seen.append((stride, {(int(y) - 4, int(x) - 4) for y, x in np.argwhere(result.of_cells(wanted))}))
        mean = np.where(result.evaluated | wanted, 0.0, np.nan)
        result = replace(
            result,
            evaluated=result.evaluated | wanted,
            mean_loss_increase=mean,
            loss_increase_std=mean,
            refinement_levels=(*result.refinement_levels, (stride, int(wanted.sum()))),
        )
    square = {
        n: {(y, x) for y in range(-2 * n, 2 * n + 1, n) for x in range(-2 * n, 2 * n + 1, n)} for n in (1, 2)
    }
    ends = {(y, x) for y in (-4, 0, 4) for x in (-4, 0, 4)}
    inner = {n: {(y, x) for y, x in square[n] if max(abs(y), abs(x)) <= n} for n in (1, 2)}
    assert seen == [
        (2, inner[2] - ends),  # between the middle and the coarse points around it
        (2, square[2] - inner[2] - ends),  # around those, each of which differs from the middle
        (1, inner[1] - ends),
        (1, square[1] - inner[1] - square[2]),
    ]


def test_losses_count_where_they_differ_by_a_share_of_the_largest() -> None:
    assert wanted_cells(coarse({}, {(4, 4): 1.0}))
    assert (
        wanted_cells(coarse(dict.fromkeys([(y, x) for y in (-4, 0, 4) for x in (-4, 0, 4)], 5), {})) == set()
    )
    flat = {(y, x): 1.0 for y in (-4, 0, 4) for x in (-4, 0, 4)}
    assert wanted_cells(coarse({}, flat | {(0, 0): 1.08})) == set()
    assert wanted_cells(coarse({}, flat | {(0, 0): 1.2}))


def test_a_square_is_refined_within() -> None:
    inside, images = ring(3.5, 4.5), grey(20)
    found = measured(Planted(inside), images, refine=4, frequencies=15)
    wanted = measured(Planted(inside), images, frequencies=15)
    assert not (found.evaluated & ~wanted.evaluated).any()
    assert found.evaluated_cells[inside].all()
    assert found.frequencies_evaluated < wanted.frequencies_evaluated


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"refine": 3}, "refine is 3; accepted are powers of two from 2, such as 4"),
        ({"refine": 1}, "refine is 1"),
        ({"refine": 0}, "refine is 0"),
        ({"refine": -4}, "refine is -4"),
        ({"refine": 4, "frequencies": [[1, 2]]}, "refine goes with a square of frequencies"),
    ],
)
def test_other_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measured(Planted(ring(3, 4)), grey(2), **settings)


def test_threads_give_the_same_bits() -> None:
    inside, images = ring(3, 4, (16, 16)), grey(40, (16, 16))
    with ThreadPoolExecutor(2) as executor:
        found = measured(Planted(inside), images, refine=4, executor=executor)
    assert found == measured(Planted(inside), images, refine=4)


# Interruptions


class Tired(Planted):
    """Is interrupted when it has been shown so many images."""

    def __init__(self, inside: Any, left: int) -> None:
        super().__init__(inside)
        self.left = left

    def logits(self, images: Any, /) -> Any:
        if self.shown + len(images) > self.left:
            raise KeyboardInterrupt
        return super().logits(images)


@pytest.mark.parametrize("share", [0.2, 0.4, 0.7, 0.98])
def test_interrupted_runs_resume_to_the_same_bits(tmp_path: Path, share: float) -> None:
    shape = (16, 16)
    inside, images = ring(4, 5, shape), grey(20, shape)

    def kept(*, resume: bool) -> Checkpoint:
        return Checkpoint(path=tmp_path / "partial.npz", fingerprint="f", resume=resume)

    whole = measured(Planted(inside), images, refine=4)
    assert len(whole.refinement_levels) >= 3
    tired = Tired(inside, int(share * whole.model_evaluations))
    with pytest.raises(KeyboardInterrupt):
        measured(tired, images, refine=4, checkpoint=kept(resume=False))
    assert list(tmp_path.iterdir())
    again = Planted(inside)
    assert measured(again, images, refine=4, checkpoint=kept(resume=True)) == whole
    # At most one shard of 16 images of one pass is done twice.
    most = 16 * (1 + max(count for _, count in whole.refinement_levels))
    assert again.shown + tired.shown <= whole.model_evaluations + most
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_a_partial_result_of_another_run_is_refused(tmp_path: Path) -> None:
    inside, images = ring(4, 5, (16, 16)), grey(20, (16, 16))
    tired = Tired(inside, 20 * 40)
    path = tmp_path / "partial.npz"
    with pytest.raises(KeyboardInterrupt):
        measured(tired, images, refine=4, checkpoint=Checkpoint(path=path, fingerprint="f"))
    assert path.exists()
    with pytest.raises(CheckpointError, match="belongs to another run"):
        measured(
            Planted(inside), images, refine=4, checkpoint=Checkpoint(path=path, fingerprint="g", resume=True)
        )


# Results


@pytest.fixture(scope="module")
def refined() -> Callable[..., FourierHeatmap]:
    def make(**settings: Any) -> FourierHeatmap:
        return measured(Planted(ring(4, 5, (16, 16))), grey(20, (16, 16)), refine=4, **settings)

    return make


def test_refined_results_come_back_from_files(refined: Callable[..., FourierHeatmap]) -> None:
    result = refined()
    content = json.loads(dump_json(document(result)))
    found = from_document(content)
    assert found.to_dict() == result.to_dict() == content["result"]
    assert (found.refine, found.refinement_levels) == (4, result.refinement_levels)
    assert unpack(*pack(result)) == result
    assert np.array_equal(content["result"]["evaluated"], result.evaluated_cells)
    assert np.array_equal(result.arrays()["evaluated"], ~np.isnan(result.error_rate))
    (note,) = [finding for finding in result.findings if finding.code == "refined"]
    assert (
        f"{result.frequencies_evaluated} of 130 frequencies were evaluated: a grid of stride 4"
        in note.message
    )


def test_parts_of_frequencies_join_to_the_same_cells() -> None:
    inside, images = ring(4, 5, (8, 8)), grey(20, (8, 8))
    left, right = ([[0, 0], [1, 2], [4 - 8, 0]], [[2, 2], [3, 3], [0, 3]])
    one, other = (measured(Planted(inside), images, frequencies=part) for part in (left, right))
    both = measured(Planted(inside), images, frequencies=left + right)
    made = joined(one, other)
    for name in ("evaluated", "errors", "mean_loss_increase", "loss_increase_std"):
        assert np.array_equal(getattr(made, name), getattr(both, name), equal_nan=True)
    for name in (
        *("image_error_rate", "image_loss_increase", "image_ring_error_rate", "image_ring_loss_increase"),
        *("ring_error_rate_std", "band_error_rate_std", "ring_loss_increase_std", "band_loss_increase_std"),
    ):
        assert np.allclose(getattr(made, name), getattr(both, name), atol=1e-6, equal_nan=True)
    assert made.model_evaluations == one.model_evaluations + other.model_evaluations


def test_parts_that_do_not_fit_do_not_join() -> None:
    inside, images = ring(4, 5, (8, 8)), grey(20, (8, 8))
    one = measured(Planted(inside), images, frequencies=[[0, 0], [1, 2]])
    other = measured(Planted(inside), images, frequencies=[[1, 2], [2, 2]])
    with pytest.raises(InputMismatch, match="the results share frequencies"):
        joined(one, other)
    with pytest.raises(InputMismatch, match="the results are of different images"):
        joined(one, measured(Planted(inside), images[::-1], frequencies=[[2, 2]]))
    with pytest.raises(InputMismatch, match="seed is 0 here and 1 there"):
        joined(one, measured(Planted(inside), images, frequencies=[[2, 2]], seed=1))


def test_maps_that_were_refined_otherwise_do_not_merge(refined: Callable[..., FourierHeatmap]) -> None:
    result = refined()
    other = replace(result, refinement_levels=((2, 1), *result.refinement_levels))
    with pytest.raises(InputMismatch, match="the refinement levels are"):
        result.merge(other)
    assert result.merge(result).frequencies_evaluated == result.frequencies_evaluated
