"""Work on the host while the runtime works: items made one ahead, in the order that they are asked for."""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, Generic, TypeVar

from specprobe.arrays import carried

__all__ = ["Staged", "ahead"]

T = TypeVar("T")

_END: Any = object()


def ahead(items: Iterable[T], /) -> Generator[T, None, None]:
    """The same items, the next one being made in a thread while the last one is in use.

    Parameters
    ----------
    items : iterable
        Whatever is raised in it is raised here, at the item's turn.

    Yields
    ------
    object
        Of ``items``, in their order. Two of them are alive at once, beside the one in use.
    """
    source = iter(items)
    make = carried(partial(next, source, _END))
    with ThreadPoolExecutor(1, thread_name_prefix="specprobe-ahead") as thread:
        future = thread.submit(make)
        try:
            while (item := future.result()) is not _END:
                future = thread.submit(make)
                yield item
        finally:
            wait([future])  # a generator that is running in the thread cannot be closed from here
            _close(source)


def _close(source: Iterator[Any]) -> None:
    if isinstance(source, Generator):
        source.close()


@dataclass(frozen=True, slots=True)
class Staged(Generic[T]):
    """A function in stages, each of which may work on the next item while a later stage is at the one before.

    Attributes
    ----------
    stages : tuple of callable
        From an item to what the next stage takes. Picklable where a process is to call the whole.
    """

    stages: tuple[Callable[[Any], Any], ...]

    def __call__(self, item: Any, /) -> T:
        """All stages, one after the other.

        Parameters
        ----------
        item : object
            Of the first stage.

        Returns
        -------
        object
            Of the last stage.
        """
        made: T = reduce(lambda value, stage: stage(value), self.stages, item)
        return made

    def over(self, items: Iterable[Any], /) -> Generator[T, None, None]:
        """All stages on every item, in one thread a stage; the last one in the caller's.

        Parameters
        ----------
        items : iterable
            Of the first stage.

        Yields
        ------
        object
            As called on each item, in their order.
        """
        *early, last = self.stages
        stream: Iterable[Any] = items
        for stage in early:
            stream = ahead(_each(stage, stream))
        with closing(_each(last, stream)) as results:
            yield from results


def _each(stage: Callable[[Any], Any], items: Iterable[Any]) -> Generator[Any, None, None]:
    """``map`` that closes what it reads from."""
    try:
        for item in items:
            yield stage(item)
    finally:
        if isinstance(items, Generator):
            items.close()
