"""Names from a file, made fit to print."""

from hypothesis import given
from hypothesis import strategies as st

from specprobe.graph.limits import OFFICIAL_DOMAINS, Limits, printable


@given(st.text(max_size=300))
def test_a_name_becomes_one_printable_line_of_at_most_200_characters(name: str) -> None:
    shown = printable(name)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    assert len(shown) == min(len(name), 200)
    assert printable(shown) == shown
    shown.encode()


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=200))
def test_ordinary_names_stay(name: str) -> None:
    assert printable(name) == name


def test_what_steers_a_terminal_or_the_reading_direction_goes() -> None:
    assert printable("a\x1b[31mb\nc\u202ed\u2028e\ud800") == "a\ufffd[31mb\ufffdc\ufffdd\ufffde\ufffd"


def test_no_domain_is_allowed_beside_the_official_ones() -> None:
    assert Limits().allowed_domains == frozenset()
    assert "" in OFFICIAL_DOMAINS
