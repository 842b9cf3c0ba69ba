"""Which frequencies the filters of a sweep keep."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specprobe.analysis.band_filters import SECTIONS, PassFilters, default_radii
from specprobe.spectral.grid import radius

sides = st.integers(1, 80)


@given(sides, sides)
def test_default_radii_reach_from_the_mean_to_everything(height: int, width: int) -> None:
    radii = default_radii((height, width))
    corner = radius((height, width)).max()
    assert list(radii) == sorted(set(radii))
    assert all(value == int(value) for value in radii)
    assert radii[0] == 1
    assert radii[-1] > corner >= radii[-1] - 1
    assert len(radii) <= 4 * math.log2(radii[-1]) + 2


@pytest.mark.parametrize(("size", "count"), [(28, 14), (32, 14), (64, 19), (224, 26)])
def test_default_radii_are_few(size: int, count: int) -> None:
    assert len(default_radii((size, size))) == count


def test_low_pass_keeps_the_published_numbers_of_coefficients() -> None:
    filters = PassFilters(radii=(4, 8, 12, 16, 20, 24, 28))
    masks, which = filters.masks((32, 32))
    kept = [1024, *(int(mask.sum()) for mask in masks)]
    sections = filters.sections()
    assert [kept[which[i]] for i in sections["low_pass"]] == [45, 193, 437, 793, 995, 1024, 1024]
    assert [kept[which[i]] for i in sections["high_pass"]] == [979, 831, 587, 231, 29, 0, 0]


@given(st.sampled_from([(32, 32), (15, 20), (9, 9), (8, 30)]), st.booleans())
def test_every_second_filter_is_the_complement(shape: tuple[int, int], mean_restored: bool) -> None:
    filters = PassFilters(
        radii=(0, 1, 3.5, 90), bands=((1, 4), (3, math.inf)), wedges=((-20, 30),), mean_restored=mean_restored
    )
    masks, which = filters.masks(shape)
    everything = np.ones(shape, np.bool_)
    by_filter = [[everything, *masks][i] for i in which]
    assert len({mask.tobytes() for mask in (everything, *masks)}) == 1 + len(masks)
    sections = filters.sections()
    for kept, removed in zip(SECTIONS[::2], SECTIONS[1::2], strict=True):
        for i, j in zip(sections[kept], sections[removed], strict=True):
            both = by_filter[i] & by_filter[j]
            assert (by_filter[i] | by_filter[j]).all()
            assert both.sum() == mean_restored
            assert both[shape[0] // 2, shape[1] // 2] == mean_restored


def test_names_and_sections_are_in_one_order() -> None:
    filters = PassFilters(radii=(2, 4.5), bands=((1, 3),), wedges=((0, 45),))
    names = filters.names()
    assert names == [
        "no filter",
        *("low_pass 2", "low_pass 4.5", "high_pass 2", "high_pass 4.5"),
        *("band_pass 1:3", "band_stop 1:3", "wedge_pass 0:45", "wedge_stop 0:45"),
    ]
    for section, places in filters.sections().items():
        assert all(names[i].startswith(section) for i in places)
    assert len(filters.masks((16, 16))[1]) == len(names)


def test_radii_must_ascend() -> None:
    with pytest.raises(ValueError, match="the radii 2, 1 do not ascend"):
        PassFilters(radii=(2, 1))
