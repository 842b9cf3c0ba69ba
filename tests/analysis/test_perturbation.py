"""Spectra of perturbations that are known by hand."""

import dataclasses
import json
import re
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import specprobe
from specprobe.analysis import perturbation
from specprobe.analysis.perturbation import (
    RELATIVE_OFFSET,
    PerturbationSpectrum,
    array_spectrum,
    perturbation_spectrum,
)
from specprobe.analysis.perturbation_measures import MEASURES
from specprobe.errors import EmptyInput, InputMismatch
from specprobe.results import document, from_document, pack, unpack
from specprobe.spectral import power
from specprobe.spectral.grid import ring_bands, ring_sizes, rings
from specprobe.spectral.masks import band_pass
from specprobe.spectral.profiles import white_noise_shares
from specprobe.streaming import SHARD_IMAGES

SIZE = 16


def pictures(images: int, *, seed: int = 0, shape: tuple[int, int] = (SIZE, SIZE), channels: int = 3) -> Any:
    rng = np.random.default_rng(seed)
    return rng.uniform(0.2, 0.8, (images, channels, *shape)).astype(np.float32)


def noise(images: int, *, seed: int = 1, scale: float = 0.01, **options: Any) -> Any:
    shape = pictures(images, **options).shape
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def wave(f_y: int, f_x: int, *, amplitude: float = 0.02, size: int = SIZE) -> Any:
    y, x = np.mgrid[:size, :size]
    return (amplitude * np.cos(2 * np.pi * (f_y * y + f_x * x) / size + 0.3)).astype(np.float32)


def digests(images: int) -> Any:
    return np.arange(16 * images, dtype=np.uint8).reshape(images, 16)


def centred(images: Any) -> Any:
    """Unitary spectrum in float64, the mean in the middle."""
    return np.fft.fftshift(np.fft.fft2(np.asarray(images, np.float64), norm="ortho"), axes=(-2, -1))


def close(left: PerturbationSpectrum, right: PerturbationSpectrum, *, rtol: float, atol: float) -> None:
    for field in dataclasses.fields(PerturbationSpectrum):
        mine, its = getattr(left, field.name), getattr(right, field.name)
        if isinstance(mine, np.ndarray | float):
            np.testing.assert_allclose(mine, its, rtol=rtol, atol=atol, err_msg=field.name)
        else:
            assert mine == its, field.name


@pytest.mark.parametrize(("f_y", "f_x", "ring"), [(0, 3, 3), (4, 0, 4), (-3, 4, 5), (2, 2, 3)])
def test_one_wave_has_all_its_power_and_amplitude_at_its_frequency(f_y: int, f_x: int, ring: int) -> None:
    clean = pictures(3)
    result: Any = perturbation_spectrum(clean, clean + wave(f_y, f_x))
    assert result.ring_sum_share[ring - 1] == pytest.approx(1, abs=1e-6)
    assert result.centroid_cycles_per_image == pytest.approx(ring, abs=1e-5)
    assert result.half_power_cycles_per_image == pytest.approx(ring, abs=1e-5)
    assert result.mean_share == pytest.approx(0, abs=1e-10)
    # amplitude · cos has two coefficients of amplitude · sqrt(H W) / 2 in the unitary FFT.
    expected = np.zeros((SIZE, SIZE))
    for sign in (1, -1):
        expected[sign * f_y + SIZE // 2, sign * f_x + SIZE // 2] = 0.02 * SIZE / 2
    np.testing.assert_allclose(result.measure("absolute").map, expected, atol=1e-6)
    assert result.absolute[ring - 1] == pytest.approx(
        2 * 0.02 * SIZE / 2 / ring_sizes((SIZE, SIZE))[ring], rel=1e-4
    )
    assert result.measure("absolute").ring_sum[ring - 1] == pytest.approx(0.02 * SIZE, rel=1e-4)
    # Orthogonal to the perturbation, nothing moves: the other three measures are zero there, too.
    for name in MEASURES[1:]:
        off = np.where(expected == 0, result.measure(name).map, 0)
        assert np.abs(off).max() < 2e-5


@pytest.mark.parametrize(("shape", "channels"), [((16, 16), 3), ((12, 15), 1), ((9, 20), 2)])
def test_every_measure_is_its_definition(shape: tuple[int, int], channels: int) -> None:
    clean = pictures(5, shape=shape, channels=channels)
    moved = np.clip(clean + noise(5, scale=0.1, shape=shape, channels=channels), 0, 1)
    result: Any = perturbation_spectrum(clean, moved, relative_offset=0.01)
    before, after, change = centred(clean), centred(moved), centred(moved.astype(np.float64) - clean)
    planes = {
        "absolute": np.abs(change),
        "magnitude_change": np.abs(np.abs(after) - np.abs(before)),
        "relative": np.abs(change) / (np.abs(before) + 0.01),
        "log_ratio": np.log(1 + np.abs(after)) - np.log(1 + np.abs(before)),
    }
    ring, size = rings(shape), ring_sizes(shape)
    assert result.measures == tuple(planes)
    for name, plane in planes.items():
        of_image = plane.mean(axis=1)
        by_ring = np.stack([of_image[:, ring == r].mean(axis=1) for r in range(1, size.size)], axis=1)
        measure = result.measure(name)
        np.testing.assert_allclose(measure.map, of_image.mean(axis=0), rtol=1e-3, atol=2e-6)
        np.testing.assert_allclose(getattr(result, name), by_ring.mean(axis=0), rtol=1e-4, atol=2e-6)
        np.testing.assert_allclose(measure.ring_mean_std, by_ring.std(axis=0), rtol=1e-3, atol=2e-6)
        np.testing.assert_allclose(measure.ring_sum, measure.ring_mean * size[1:])
        bands = [
            of_image[:, (ring >= b.start) & (ring < (b.stop or ring.max() + 1))].mean(axis=1)
            for b in ring_bands(shape)
        ]
        np.testing.assert_allclose(measure.band_mean, np.mean(bands, axis=1), rtol=1e-4, atol=2e-6)
        assert measure.low_minus_high == pytest.approx(np.mean(bands[0] - bands[2]), rel=1e-3, abs=2e-6)
        assert measure.low_minus_high_std == pytest.approx(np.std(bands[0] - bands[2]), rel=1e-3, abs=2e-6)
    # The power: each image's divided by its total off the mean.
    of_cell = (np.abs(change) ** 2).mean(axis=1)
    off = np.where(ring == 0, 0, of_cell)
    shares = off / off.sum(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(result.power_map, shares.mean(axis=0), rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(
        result.ring_sum_share,
        [shares[:, ring == r].sum(axis=1).mean() for r in range(1, size.size)],
        rtol=1e-5,
    )
    np.testing.assert_allclose(result.ring_mean * size[1:], result.ring_sum_share)
    mean_share = of_cell[:, shape[0] // 2, shape[1] // 2] / of_cell.sum(axis=(1, 2))
    np.testing.assert_allclose(result.image_mean_share, mean_share, rtol=1e-3, atol=1e-9)


def test_parseval_gives_the_norm() -> None:
    clean, step = pictures(4), noise(4, scale=0.1)
    result: Any = perturbation_spectrum(clean, clean + step)
    size = np.linalg.norm(((clean + step) - clean).astype(np.float64).reshape(4, -1), axis=1)
    np.testing.assert_allclose(result.image_l2_norm, size, rtol=1e-6)
    assert result.l2_norm == pytest.approx(size.mean(), rel=1e-6)


def test_white_noise_has_the_white_profile() -> None:
    images = 300
    clean = pictures(images)
    result: Any = perturbation_spectrum(clean, clean + noise(images))
    error = result.ring_sum_share_std / np.sqrt(images)
    assert (np.abs(result.ring_sum_share - white_noise_shares((SIZE, SIZE))) < 4.5 * error).all()
    assert np.ptp(result.ring_mean) < 0.1 * result.ring_mean.mean()
    low, high = result.low_share_interval
    assert low - 0.003 < result.white_noise_bands[0] < high + 0.003
    assert (
        result.measure("absolute").low_minus_high_interval[0]
        < 0
        < result.measure("absolute").low_minus_high_interval[1]
    )
    assert result.cumulative_share[-1] == pytest.approx(1)
    # One cell holds that share of the whole.
    assert result.mean_share == pytest.approx(1 / SIZE**2, rel=0.15)


@pytest.mark.parametrize(("low", "high", "name"), [(0.5, 2.5, "low"), (2.5, 5.5, "mid"), (5.5, 99, "high")])
def test_shares_name_the_band_that_was_filled(low: float, high: float, name: str) -> None:
    clean = pictures(6)
    kept = np.fft.ifftshift(band_pass((SIZE, SIZE), low=low, high=high))
    step = np.fft.ifft2(np.fft.fft2(noise(6)) * kept).real.astype(np.float32)
    result: Any = perturbation_spectrum(clean, clean + step)
    for band in ("low", "mid", "high"):
        assert getattr(result, f"{band}_share") == pytest.approx(float(band == name), abs=1e-5)


def test_measures_can_disagree_on_the_same_white_perturbation() -> None:
    """Images like natural ones have much at low frequencies: D3 falls with it, D1 does not see it."""
    images = 40
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(SIZE) * SIZE, np.fft.fftfreq(SIZE) * SIZE))
    spectrum = (
        np.fft.fft2(np.random.default_rng(3).normal(size=(images, 3, SIZE, SIZE))) / np.maximum(f, 1) ** 1.5
    )
    clean = (0.5 + 0.1 * np.fft.ifft2(spectrum).real).astype(np.float32)
    result: Any = perturbation_spectrum(clean, clean + noise(images))
    assert result.measure("relative").low_minus_high_interval[1] < 0
    assert abs(result.measure("absolute").low_minus_high) < 0.05 * result.measure("absolute").band_mean[0]
    assert result.clean_ring_sum_share is not None
    assert result.clean_ring_sum_share[0] > result.clean_ring_sum_share[5]


@given(factor=st.floats(1e-3, 1e3))
@settings(max_examples=15, deadline=None)
def test_scaling_the_perturbation_scales_its_size_and_leaves_its_shares(factor: float) -> None:
    gradients = noise(3, scale=1.0)
    one, other = (
        array_spectrum(gradients),
        array_spectrum((gradients * np.float32(factor)).astype(np.float32)),
    )
    np.testing.assert_allclose(other.ring_sum_share, one.ring_sum_share, rtol=1e-4)
    np.testing.assert_allclose(other.absolute, np.float32(factor) * one.absolute, rtol=1e-4)
    assert other.l2_norm == pytest.approx(float(np.float32(factor)) * one.l2_norm, rel=1e-4)
    assert other.centroid_cycles_per_image == pytest.approx(one.centroid_cycles_per_image, rel=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_gradients_of_any_size_have_shares(scale: float) -> None:
    gradients = noise(3, scale=1.0)
    result: Any = array_spectrum((gradients * np.float32(scale)).astype(np.float32))
    np.testing.assert_allclose(result.ring_sum_share, array_spectrum(gradients).ring_sum_share, rtol=1e-4)
    assert result.dropped == 0


def test_gradients_have_the_absolute_measure_alone() -> None:
    gradients, clean = noise(5), pictures(5)
    result: Any = array_spectrum(gradients, clean=clean, digests=digests(5))
    assert (result.of, result.measures, result.relative_offset) == ("gradient", ("absolute",), None)
    assert result.magnitude_change is None
    assert result.relative is None
    assert result.log_ratio is None
    content = result.to_dict()
    assert (
        content["relative"]
        is content["log_ratio_interval"]
        is content["magnitude_change_low_minus_high"]
        is None
    )
    assert len(content["absolute"]) == len(content["cycles_per_image"])
    moved = perturbation_spectrum(clean, clean + gradients)
    np.testing.assert_allclose(result.ring_sum_share, moved.ring_sum_share, rtol=1e-3)
    np.testing.assert_array_equal(result.clean_ring_sum_share, moved.clean_ring_sum_share)
    assert array_spectrum(gradients).clean_ring_sum_share is None
    with pytest.raises(ValueError, match="no measure 'relative' of a gradient; accepted are absolute"):
        result.measure("relative")
    assert set(result.arrays()) >= {
        "absolute_map",
        "power_map",
        "centroid_cycles_per_image",
        "l2_norm",
        "digest",
    }
    assert "relative_map" not in result.arrays()


def test_images_that_do_not_move_are_dropped_and_counted() -> None:
    clean, step = pictures(6), noise(6)
    step[1] = 0
    step[2] = 0.01  # by a constant: nothing off the mean
    step[4, 0, 0, 0] = np.nan
    result: Any = perturbation_spectrum(clean, clean + step, digests=digests(6))
    assert (result.images, result.dropped, result.averaged) == (6, 3, 3)
    kept = perturbation_spectrum(clean, clean + step, rows=np.array([0, 3, 5]))
    for name in ("ring_sum_share", "centroid_cycles_per_image", "measure_rings", "measure_maps", "power_map"):
        np.testing.assert_array_equal(getattr(result, name), getattr(kept, name), err_msg=name)
    assert result.clean_images == 3
    np.testing.assert_array_equal(np.isnan(result.image_centroid_cycles_per_image), [0, 1, 1, 0, 1, 0])
    assert [f.code for f in result.findings] == ["dropped-images"]
    np.testing.assert_array_equal(result.image_digest, digests(6))


def test_nothing_moved_is_a_result_that_merges() -> None:
    clean = pictures(4)
    none = perturbation_spectrum(clean, clean)
    assert none.averaged == 0
    assert np.isnan(none.centroid_cycles_per_image)
    content = none.to_dict()
    json.dumps(content, allow_nan=False)
    assert content["centroid_cycles_per_image"] is content["ring_sum_share_interval"] is None
    assert PerturbationSpectrum.from_dict(content).to_dict() == content
    some = perturbation_spectrum(clean, clean + noise(4))
    for both in (none.merge(some), some.merge(none)):
        assert (both.images, both.dropped) == (8, 4)
        np.testing.assert_array_equal(both.ring_sum_share, some.ring_sum_share)
        np.testing.assert_array_equal(both.measure_maps, some.measure_maps)


@given(cuts=st.lists(st.integers(1, 79), max_size=4))
@settings(max_examples=15, deadline=None)
def test_parts_merge_to_the_whole(cuts: list[int]) -> None:
    images = 80
    clean, step = pictures(images), noise(images)
    step[7] = 0
    step[70] = 0
    whole = perturbation_spectrum(clean, clean + step, digests=digests(images))
    edges = sorted({0, images, *cuts})
    parts = [
        perturbation_spectrum(clean, clean + step, rows=np.arange(a, b), digests=digests(images))
        for a, b in pairwise(edges)
    ]
    close(reduce(PerturbationSpectrum.merge, parts), whole, rtol=1e-12, atol=1e-15)


def test_merging_keeps_the_order_and_refuses_other_settings() -> None:
    clean, step = pictures(6), noise(6)
    first: Any
    second: Any
    first, second = (
        perturbation_spectrum(clean, clean + step, rows=np.array(rows), digests=digests(6))
        for rows in ([0, 1, 2], [3, 4, 5])
    )
    both: Any = first.merge(second)
    np.testing.assert_array_equal(both.image_digest, digests(6))
    np.testing.assert_array_equal(both.image_l2_norm[3:], second.image_l2_norm)
    assert second.merge(first) != both
    with pytest.raises(InputMismatch, match=r"relative_offset is 0\.0039.* here and 1 there"):
        first.merge(perturbation_spectrum(clean, clean + step, relative_offset=1))
    with pytest.raises(InputMismatch, match="of is perturbation here and gradient there"):
        first.merge(array_spectrum(step))


def test_rows_are_indices_or_flags() -> None:
    clean, step = pictures(9), noise(9)
    flags = np.zeros(9, np.bool_)
    flags[[1, 4, 5]] = True
    by_flag = perturbation_spectrum(clean, clean + step, rows=flags, digests=digests(9))
    assert by_flag == perturbation_spectrum(clean, clean + step, rows=np.array([1, 4, 5]), digests=digests(9))
    np.testing.assert_array_equal(by_flag.image_digest, digests(9)[flags])
    alone = perturbation_spectrum(clean[flags], (clean + step)[flags], digests=digests(9)[flags])
    assert by_flag == alone


def test_memory_of_planes_does_not_grow_with_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = power.ring_sums

    def counting(half: Any, /, **options: Any) -> Any:
        seen.append(half.shape[0])
        return real(half, **options)

    monkeypatch.setattr(perturbation, "ring_sums", counting)
    clean = pictures(150)
    result: Any = perturbation_spectrum(clean, clean + noise(150))
    assert max(seen) == SHARD_IMAGES
    assert result.images == 150


def test_arrays_of_other_libraries_give_equal_results(placed: Any) -> None:
    clean, step = pictures(70), noise(70)
    step[3] = 0
    flags = np.arange(70) % 3 > 0
    for rows in (None, flags):
        wanted = perturbation_spectrum(clean, clean + step, rows=rows, digests=digests(70))
        found = perturbation_spectrum(placed(clean), placed(clean + step), rows=rows, digests=digests(70))
        close(found, wanted, rtol=2e-4, atol=2e-6)
    close(
        array_spectrum(placed(step), clean=placed(clean)),
        array_spectrum(step, clean=clean),
        rtol=2e-4,
        atol=2e-6,
    )


def test_survives_documents_and_checkpoints() -> None:
    clean = pictures(5)
    result: Any = perturbation_spectrum(clean, clean + noise(5), digests=digests(5), confidence=0.9)
    assert unpack(*pack(result)) == result
    text = json.dumps(document(result), allow_nan=False)
    read = from_document(json.loads(text))
    assert read.to_dict() == result.to_dict()
    assert read.measure("absolute").map is None
    assert read.arrays().keys() == {"cycles_per_image", "ring_sum_share", "white_noise_share"}
    content = result.to_dict()
    for name in (
        "ring_sum_share",
        "ring_mean",
        *MEASURES,
        "half_power_cycles_per_image",
        "mean_share",
        "l2_norm",
    ):
        interval = np.array(content[f"{name}_interval"])
        assert (interval[..., 0] <= content[name]).all()
        assert (content[name] <= interval[..., 1]).all()
    assert content["relative_offset"] == RELATIVE_OFFSET
    assert content["band_limits_cycles_per_image"] == [2, 5]


def test_one_image_has_no_interval() -> None:
    clean = pictures(1)
    result: Any = perturbation_spectrum(clean, clean + noise(1))
    assert result.to_dict()["centroid_cycles_per_image_interval"] is None
    assert [f.code for f in result.findings] == ["one-image"]


def test_given_arrays_are_not_written_to() -> None:
    clean, step = pictures(3), noise(3)
    moved = clean + step
    copies = clean.copy(), moved.copy()
    perturbation_spectrum(clean, moved)
    np.testing.assert_array_equal(clean, copies[0])
    np.testing.assert_array_equal(moved, copies[1])


def test_what_does_not_fit_is_refused() -> None:
    clean = pictures(4)
    with pytest.raises(InputMismatch, match="one adversarial image for each clean one"):
        perturbation_spectrum(clean, clean[:3])
    with pytest.raises(InputMismatch, match=r"\(N, C, H, W\)"):
        perturbation_spectrum(clean[0], clean[0])
    with pytest.raises(EmptyInput, match="no images"):
        perturbation_spectrum(clean, clean, rows=np.zeros(4, np.bool_))
    for rows in ([4], [-1], [0.5], [[0]]):
        with pytest.raises(InputMismatch, match="indices from 0 to 3"):
            perturbation_spectrum(clean, clean, rows=np.array(rows))
    with pytest.raises(InputMismatch, match="flags of shape"):
        perturbation_spectrum(clean, clean, rows=np.ones(3, np.bool_))
    with pytest.raises(InputMismatch, match="3 digests"):
        perturbation_spectrum(clean, clean, digests=digests(3))
    with pytest.raises(ValueError, match="relative_offset is 0"):
        perturbation_spectrum(clean, clean, relative_offset=0)
    with pytest.raises(ValueError, match="confidence"):
        perturbation_spectrum(clean, clean, confidence=1)
    with pytest.raises(InputMismatch, match=r"one\s+shape for both"):
        array_spectrum(clean, clean=clean[:, :1])
    result: Any = perturbation_spectrum(clean, clean + noise(4))
    with pytest.raises(ValueError, match="5 of 4 images dropped"):
        dataclasses.replace(result, dropped=5)
    with pytest.raises(ValueError, match="profiles of"):
        dataclasses.replace(result, ring_sum_share=np.zeros(3))
    assert result != 3


@pytest.mark.slow
def test_code_of_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(specprobe.__file__).parent.parent
    page = (root / "docs" / "perturbation.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(root)
    found: dict[str, Any] = {}
    exec(compile(code, "perturbation.md", "exec"), found)  # noqa: S102 - the page's own code
    assert found["spectrum"].measures == MEASURES
    assert found["mixed"].broken
    assert len(found["swept"].standing) == 2
