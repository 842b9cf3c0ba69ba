"""Many images, a shard at a time: the same bits whoever computes the shards, and a way back after an interruption."""

import contextlib
import hashlib
import json
import os
import pickle
import time
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from specprobe.errors import CheckpointError, DataError, EmptyInput
from specprobe.files import write_atomically
from specprobe.pipeline import Staged
from specprobe.results import pack, save_arrays, unpack

__all__ = ["SHARD_IMAGES", "Checkpoint", "Mergeable", "Shard", "map_reduce", "shards"]

SHARD_IMAGES = 64
"""Images a shard. Part of what a result means to the last bit, so it does not follow the batch size."""


class Mergeable(Protocol):
    """A result that can be had in parts."""

    def merge(self, other: Any, /) -> Any:
        """Result of both parts; ``other`` comes later in the data.

        Parameters
        ----------
        other : Mergeable
            Of the same type and settings.

        Returns
        -------
        Mergeable
            Of the same type.
        """
        ...


R = TypeVar("R", bound=Mergeable)

_UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, MemoryError),
    *(RuntimeError, zipfile.BadZipFile, zlib.error),
)
"""What NumPy, zipfile and json raise for files that are cut off, damaged, or something else."""


class Shard(NamedTuple):
    """Consecutive images: ``start`` to ``stop − 1``."""

    start: int
    stop: int


def shards(images: int, /, *, size: int = SHARD_IMAGES) -> tuple[Shard, ...]:
    """Cut ``images`` into shards of ``size``, the last one shorter.

    Parameters
    ----------
    images : int
        How many there are.
    size : int
        Images a shard.

    Returns
    -------
    tuple of Shard
        In order.

    Raises
    ------
    EmptyInput
        If there are no images.
    """
    if images < 1:
        msg = "there are no images to analyse"
        raise EmptyInput(msg)
    return tuple(Shard(i, min(i + size, images)) for i in range(0, images, size))


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where the partial result of a long run is kept.

    Attributes
    ----------
    path : pathlib.Path
        An ``.npz`` that is replaced in one step.
    fingerprint : str
        Of everything that the result depends on.
    resume : bool
        Whether to go on from what is there. If not, it is overwritten.
    seconds : float
        Time between two writes.
    """

    path: Path
    fingerprint: str
    resume: bool = False
    seconds: float = 10.0

    @classmethod
    def of(cls, settings: dict[str, Any], /, *, resume: bool = False, seconds: float = 10.0) -> "Checkpoint":
        """Checkpoint in the user's cache folder, named by what the run depends on.

        Parameters
        ----------
        settings : dict
            JSON values: model, data, settings, seed, versions.
        resume : bool
            Whether to go on from what is there.
        seconds : float
            Time between two writes.

        Returns
        -------
        Checkpoint
            Its folder exists after the first write.
        """
        text = json.dumps(settings, sort_keys=True, default=str)
        fingerprint = hashlib.sha256(text.encode()).hexdigest()
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        path = Path(base) / "specprobe" / "partial" / f"{fingerprint[:32]}.npz"
        return cls(path=path, fingerprint=fingerprint, resume=resume, seconds=seconds)

    def read(self) -> tuple[int, Any] | None:
        """Partial result on disk.

        Returns
        -------
        (int, Mergeable) or None
            Number of shards it covers, and the result; None if there is none or none is asked for.

        Raises
        ------
        CheckpointError
            If the file belongs to another run or cannot be read.
        """
        if not self.resume or not self.path.exists():
            return None
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            fingerprint, done = str(arrays.pop("fingerprint")), int(arrays.pop("shards"))
            part = unpack(str(arrays.pop("scalars")), arrays)
        except (*_UNREADABLE, DataError) as error:
            msg = (
                f"the partial result {self.path} cannot be read: {error}; delete it, or run without --resume"
            )
            raise CheckpointError(msg) from error
        if fingerprint != self.fingerprint:
            msg = f"the partial result {self.path} belongs to another run; delete it, or run without --resume"
            raise CheckpointError(msg)
        return done, part

    def write(self, done: int, part: Any, /) -> None:
        """Replace the partial result.

        Parameters
        ----------
        done : int
            Number of shards it covers.
        part : Mergeable
            Result of these shards.

        Raises
        ------
        CheckpointError
            If there is no room for it.
        """
        scalars, arrays = pack(part)
        content = {"fingerprint": self.fingerprint, "shards": done, "scalars": scalars, **arrays}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, lambda file: save_arrays(file, content))
        except (OSError, DataError) as error:
            msg = f"the partial result cannot be kept: {error}; point XDG_CACHE_HOME at a folder that can be written"
            raise CheckpointError(msg) from error

    def clear(self) -> None:
        """Delete the partial result: the run is done."""
        self.path.unlink(missing_ok=True)


def map_reduce(
    step: Callable[[Shard], R],
    shards: Sequence[Shard],
    /,
    *,
    executor: Executor | None = None,
    in_flight: int = 8,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[int], None] | None = None,
) -> R:
    """Merge ``step(shard)`` over all shards, in their order.

    Parameters
    ----------
    step : callable
        From a shard to a mergeable result. Picklable where the executor needs it: freeze settings with
        ``functools.partial``. The stages of a :class:`~specprobe.pipeline.Staged` overlap where there is no executor.
    shards : sequence of Shard
        One or more.
    executor : concurrent.futures.Executor, optional
        Threads, processes, a Dask client's executor. Without one, shards are computed here, one by one. The result
        is the same to the bit.
    in_flight : int
        Shards submitted at once, so that a long run never sits in memory whole.
    checkpoint : Checkpoint, optional
        Where the merged partial result is kept while the run lasts.
    progress : callable, optional
        Called with the number of images done, as shards are merged.

    Returns
    -------
    Mergeable
        ``merge`` of all parts.

    Raises
    ------
    EmptyInput
        If there are no shards.
    CheckpointError
        If a partial result is to be continued that belongs to another run.
    """
    if not shards:
        msg = "there are no shards to analyse"
        raise EmptyInput(msg)
    # One name for both, so that an interruption never comes between the part and the count of what it covers.
    covered: tuple[int, Any] = (checkpoint.read() if checkpoint is not None else None) or (0, None)
    done = covered[0]
    left = shards[done:]
    if progress is not None and done:
        progress(shards[done - 1].stop)
    written = time.monotonic()
    parts = _serial(step, left) if executor is None else _submit(step, left, executor, in_flight)
    try:
        # Closed at once, whatever is raised where: a traceback would keep the generator, and its shards, alive.
        with contextlib.closing(parts):
            for shard, new in zip(left, parts, strict=True):
                done, part = covered
                covered = (done + 1, new if part is None else part.merge(new))
                if progress is not None:
                    progress(shard.stop)
                if checkpoint is not None and time.monotonic() - written > checkpoint.seconds:
                    checkpoint.write(*covered)
                    written = time.monotonic()
    except BaseException:
        if checkpoint is not None and covered[1] is not None:
            checkpoint.write(*covered)
        raise
    if checkpoint is not None:
        checkpoint.clear()
    result: R = covered[1]
    return result


def _serial(step: Callable[[Shard], R], left: Sequence[Shard]) -> Generator[R, None, None]:
    if isinstance(step, Staged):
        yield from step.over(left)
        return
    for shard in left:
        yield step(shard)


class _Portable:
    """A step that a worker process unpickles once, not once a shard: it keeps its open files and sessions."""

    def __init__(self, step: Callable[[Shard], Any]) -> None:
        self._step = step
        self._pickled: bytes | None = None

    def __call__(self, shard: Shard) -> Any:
        return self._step(shard)

    def __reduce__(self) -> "tuple[Callable[[bytes], _Portable], tuple[bytes]]":
        if self._pickled is None:
            self._pickled = pickle.dumps(self._step)
        return _restored, (self._pickled,)


@lru_cache(maxsize=2)
def _restored(pickled: bytes) -> _Portable:
    return _Portable(pickle.loads(pickled))


def _submit(
    step: Callable[[Shard], R], left: Sequence[Shard], executor: Executor, in_flight: int
) -> Generator[R, None, None]:
    todo = iter(left)
    portable: Callable[[Shard], R] = _Portable(step)
    # Positional and bare: Dask takes some keywords of submit for itself.
    pending = deque(executor.submit(portable, shard) for shard in islice(todo, in_flight))
    try:
        while pending:
            part = pending[0].result()  # an interruption while it is waited for cancels this one, too
            pending.popleft()
            yield part
            pending.extend(executor.submit(portable, shard) for shard in islice(todo, 1))
    finally:
        for future in pending:
            future.cancel()
