"""Every setting has a type."""

from specprobe.audit.config import ANALYSES, tables


def test_settings_are_those_of_the_analyses() -> None:
    assert frozenset().union(*ANALYSES.values()) == tables.SETTINGS.keys()
