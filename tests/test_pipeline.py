"""Items made ahead keep their order, their errors and their number; stages overlap, and all of them stop."""

import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from operator import add, mul
from typing import Any

import pytest

from specprobe.pipeline import Staged, ahead
from specprobe.streaming import Shard, map_reduce, shards

PATIENCE = 30
"""Seconds after which a test that waits for another thread gives up."""


@dataclass(frozen=True)
class Joined:
    """Merges by putting one behind the other."""

    parts: tuple[Any, ...]

    def merge(self, other: "Joined", /) -> "Joined":
        return Joined(self.parts + other.parts)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_items_made_ahead_are_the_same_items(count: int) -> None:
    assert list(ahead(iter(range(count)))) == list(range(count))
    assert list(ahead(ahead(range(count)))) == list(range(count))


def test_the_next_item_is_made_while_the_last_one_is_in_use() -> None:
    second = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        second.set()
        yield 2

    stream = ahead(items())
    assert next(stream) == 1
    assert second.wait(PATIENCE)  # without anything more being asked for
    assert list(stream) == [2]


def test_no_more_than_one_item_is_made_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(10):
            made.append(i)
            yield i

    stream = ahead(items())
    for used in range(1, 6):
        next(stream)
        assert len(made) <= used + 1
    stream.close()
    assert len(made) <= 6


def test_an_error_comes_at_its_items_turn() -> None:
    def items() -> Iterator[int]:
        yield 1
        msg = "the disk is gone"
        raise OSError(msg)

    stream = ahead(items())
    assert next(stream) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(stream)


def test_what_is_given_up_is_closed_to_the_first_stage() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(10)
        finally:
            closed.set()

    staged: Staged[int] = Staged((partial(add, 1), partial(mul, 2), partial(add, 3)))
    stream = staged.over(items())
    assert next(stream) == 5
    stream.close()
    assert closed.wait(PATIENCE)
    assert not [t for t in threading.enumerate() if t.name.startswith("specprobe-ahead")]


def test_stages_in_turn_and_overlapped_give_the_same() -> None:
    staged: Staged[int] = Staged((partial(add, 1), partial(mul, 2), partial(add, 3)))
    assert [staged(i) for i in range(9)] == list(staged.over(range(9))) == [2 * (i + 1) + 3 for i in range(9)]
    assert pickle.loads(pickle.dumps(staged))(4) == 13


def test_stages_meet_only_if_they_overlap() -> None:
    meeting = threading.Barrier(2)

    def early(item: int) -> int:
        if item:
            meeting.wait(PATIENCE)
        return item

    def late(item: int) -> int:
        if item < 3:
            meeting.wait(PATIENCE)  # while the item behind it is at the first stage
        return item

    staged: Staged[int] = Staged((early, late))
    assert list(staged.over(range(4))) == [0, 1, 2, 3]


def _double(shard: Shard) -> Shard:
    return Shard(2 * shard.start, 2 * shard.stop)


def _joined(shard: Shard) -> Joined:
    return Joined((tuple(shard),))


def test_shards_merge_in_order_whoever_computes_them() -> None:
    step: Staged[Joined] = Staged((_double, _joined))
    cut = shards(25, size=4)
    expected = Joined(tuple((2 * s.start, 2 * s.stop) for s in cut))
    assert map_reduce(step, cut) == expected
    with ThreadPoolExecutor(2) as threads:
        assert map_reduce(step, cut, executor=threads) == expected
    with ProcessPoolExecutor(2) as processes:
        assert map_reduce(step, cut, executor=processes) == expected


def test_an_interrupted_run_stops_every_stage() -> None:
    def interrupted(shard: Shard) -> Joined:
        if shard.start:
            raise KeyboardInterrupt
        return _joined(shard)

    step: Staged[Joined] = Staged((_double, interrupted))
    with pytest.raises(KeyboardInterrupt):
        map_reduce(step, shards(25, size=4))
    assert not [t for t in threading.enumerate() if t.name.startswith("specprobe-ahead")]
