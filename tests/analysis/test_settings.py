"""Results of different settings are told apart, by every setting that differs."""

from types import SimpleNamespace

import pytest

from specprobe.analysis.settings import check_same_settings
from specprobe.errors import InputMismatch


def test_all_that_differs_is_named_and_nothing_else() -> None:
    first = SimpleNamespace(seed=0, clip=True, norm="l2", images=3)
    second = SimpleNamespace(seed=1, clip=True, norm="linf", images=5)
    with pytest.raises(InputMismatch) as refused:
        check_same_settings(first, second, ("norm", "clip", "seed"))
    assert str(refused.value) == (
        "norm is l2 here and linf there, seed is 0 here and 1 there; accepted are results of the same settings"
    )
    check_same_settings(first, second, ("clip",))
