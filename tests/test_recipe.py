"""Recipes as data: what they refuse, options over them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specprobe.errors import RecipeError
from specprobe.recipe import Geometry, Preprocessing, parse_range, with_options


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_ranges_as_text(low: float, high: float) -> None:
    assert parse_range(f"{low!r}:{high!r}") == (low, high) == parse_range([low, high])
    assert parse_range(str(high)) == (0, high) == parse_range(high)


def test_options_win_and_say_so() -> None:
    recipe = Preprocessing(mean=(0.1,), source="timm: config.json")
    assert with_options(recipe) is recipe
    changed = with_options(recipe, std=(2,), range="-1:1", layout="NHWC", size=(3, 4))
    assert changed == Preprocessing(
        mean=(0.1,),
        std=(2.0,),
        range=(-1, 1),
        layout="NHWC",
        size=(3, 4),
        source="timm: config.json, options",
    )
    changed = with_options(Preprocessing(), mean=(0, 0, 0), channel_order="BGR", geometry=Geometry(resize=8))
    assert (changed.source, changed.channel_order, changed.geometry.resize) == ("options", "BGR", 8)
    with pytest.raises(RecipeError, match="mean has 2 values, std has 3"):
        with_options(changed, mean=(1, 2), std=(1, 2, 3))


def test_means_of_8_bit_values_are_refused_with_what_they_are() -> None:
    with pytest.raises(
        RecipeError, match=r"of 8-bit values these are 0\.485,0\.456,0\.406, and the standard"
    ):
        Preprocessing(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
    assert Preprocessing(mean=(1.0,)).mean == (1.0,)
