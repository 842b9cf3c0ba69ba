"""Bytes of a file, an archive member or a compressed file at any offset, never the whole of it."""

import gzip
import os
import threading
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

from specprobe.errors import DataError

__all__ = ["ByteStream", "FileRegion", "ForwardStream", "GzipStream", "ZipMember"]

BLOCK = 1 << 18


class ByteStream(Protocol):
    """Bytes that can be read at an offset; picklable, and safe to share between threads and forks.

    Attributes
    ----------
    name : str
        What messages call it.
    size : int
        Declared length in bytes.
    """

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def size(self) -> int:
        """Declared length in bytes."""
        ...

    def read(self, offset: int, count: int, /) -> bytearray:
        """Exactly ``count`` bytes.

        Parameters
        ----------
        offset, count : int
            Within ``size``.

        Returns
        -------
        bytearray
            Owned by the caller.
        """
        ...


@dataclass(frozen=True, slots=True)
class FileRegion:
    """A stretch of a plain file, opened anew for each read.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    name : str
        What messages call it.
    origin : int
        Offset in the file of byte 0.
    size : int
        Length in bytes.
    """

    path: Path
    name: str
    origin: int
    size: int

    def read(self, offset: int, count: int, /) -> bytearray:
        """Exactly ``count`` bytes.

        Parameters
        ----------
        offset, count : int
            Within ``size``.

        Returns
        -------
        bytearray
            Owned by the caller.
        """
        try:
            with self.path.open("rb") as handle:
                handle.seek(self.origin + offset)
                return _fill(handle, count, self.name, offset)
        except OSError as error:
            msg = f"{self.name} cannot be read: {error.strerror or error}"
            raise DataError(msg) from error


class ForwardStream:
    """A stream that costs reading to move forward, and starting over to move back.

    The handle stays open between reads, one per process; it is not pickled.
    """

    _handle: IO[bytes] | None = None
    _position: int = 0

    def __init__(self, path: Path, name: str, size: int) -> None:
        self.path = path
        self.name = name
        self.size = size
        self._start_afresh()

    def _open(self) -> IO[bytes]:
        raise NotImplementedError

    def read(self, offset: int, count: int, /) -> bytearray:
        """Exactly ``count`` bytes.

        Parameters
        ----------
        offset, count : int
            Within ``size``.

        Returns
        -------
        bytearray
            Owned by the caller.
        """
        # A forked child shares the file position, and may have inherited the lock held for ever.
        if self._process != os.getpid():
            self._start_afresh()
        with self._lock:
            try:
                return self._read(offset, count)
            except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
                self._close()
                msg = (
                    f"{self.name} cannot be expanded near byte {offset} of {self.size}: {error}. "
                    "The file is truncated or damaged; fetch or write it again"
                )
                raise DataError(msg) from error
            except DataError:
                self._close()
                raise

    def _read(self, offset: int, count: int) -> bytearray:
        if self._handle is None or offset < self._position:
            self._close()
            self._handle = self._open()
        while self._position < offset:
            step = len(_fill(self._handle, min(BLOCK, offset - self._position), self.name, self._position))
            self._position += step
        data = _fill(self._handle, count, self.name, offset)
        self._position += count
        return data

    def _start_afresh(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._handle = None
        self._position = 0

    def _close(self) -> None:
        handle, self._handle, self._position = self._handle, None, 0
        if handle is not None:
            handle.close()

    def __getstate__(self) -> tuple[Path, str, int]:
        return self.path, self.name, self.size

    def __setstate__(self, state: tuple[Path, str, int]) -> None:
        self.path, self.name, self.size = state
        self._start_afresh()

    def __del__(self) -> None:
        self._close()


class ZipMember(ForwardStream):
    """A deflated member of a zip archive; ``zipfile`` keeps to its declared size and checks its CRC at the end."""

    def __init__(self, path: Path, name: str, size: int, member: str) -> None:
        super().__init__(path, name, size)
        self.member = member

    def _open(self) -> IO[bytes]:
        with zipfile.ZipFile(
            self.path
        ) as archive:  # the member keeps the file open until it is closed itself
            return archive.open(self.member)

    def __getstate__(self) -> Any:
        return super().__getstate__(), self.member

    def __setstate__(self, state: Any) -> None:
        inner, self.member = state
        super().__setstate__(inner)


class GzipStream(ForwardStream):
    """A gzip file of which no more than ``size`` expanded bytes are ever read."""

    def _open(self) -> IO[bytes]:
        return cast("IO[bytes]", gzip.open(self.path, "rb"))


def _fill(handle: IO[bytes], count: int, name: str, offset: int) -> bytearray:
    """Read in blocks: ``ZipExtFile.read`` would take ``count`` compressed bytes at once."""
    data = bytearray(count)
    view = memoryview(data)
    filled = 0
    while filled < count:
        got = handle.readinto(view[filled : filled + BLOCK])  # type: ignore[attr-defined]
        if not got:
            msg = (
                f"{name} ends {count - filled} bytes early, at byte {offset + filled}. "
                "The file is truncated or its declared size is wrong; fetch or write it again"
            )
            raise DataError(msg)
        filled += got
    return data
