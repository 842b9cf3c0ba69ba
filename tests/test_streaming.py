"""Shards: the same bits whoever computes them, and a way back after an interruption."""

import contextlib
import itertools
import pickle
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import specprobe
from specprobe.analysis.accuracy import Accuracy, accuracy
from specprobe.errors import CheckpointError, DataError, EmptyInput
from specprobe.images import ArraySource, load_images
from specprobe.protocols import ImageSource
from specprobe.results import save_arrays
from specprobe.runtime.network import Network
from specprobe.streaming import SHARD_IMAGES, Checkpoint, Shard, _Portable, map_reduce, shards


@dataclass(frozen=True)
class Seen:
    """Which shards, in which order; merging is associative and nothing else."""

    shards: tuple[Shard, ...]

    def merge(self, other: "Seen") -> "Seen":
        return Seen(self.shards + other.shards)


def see(shard: Shard) -> Seen:
    return Seen((shard,))


def measure(shard: Shard) -> Accuracy:
    """Accuracy whose every field depends on the shard, and whose merging depends on the order."""
    flags = np.random.default_rng(shard.start).random(shard.stop - shard.start) < 0.5
    return Accuracy(
        images=flags.size,
        correct=int(flags.sum()),
        class_histogram={str(shard.start % 3): flags.size},
        prediction_histogram={str(shard.stop % 5): flags.size},
        confidence=0.1 + 0.2,
        image_correct=flags,
        image_digest=np.arange(16 * flags.size).reshape(-1, 16).astype(np.uint8),
    )


# Cutting


@given(st.integers(1, 10_000), st.integers(1, 300))
def test_shards_cover_every_image_once_and_in_order(images: int, size: int) -> None:
    cut = shards(images, size=size)
    assert [i for shard in cut for i in range(*shard)] == list(range(images))
    assert all(shard.stop - shard.start == size for shard in cut[:-1])


def test_shards_have_a_size_of_their_own() -> None:
    assert shards(SHARD_IMAGES + 1) == (Shard(0, SHARD_IMAGES), Shard(SHARD_IMAGES, SHARD_IMAGES + 1))


@pytest.mark.parametrize("images", [0, -1])
def test_no_images_are_refused(images: int) -> None:
    with pytest.raises(EmptyInput, match="there are no images to analyse"):
        shards(images)


def test_no_shards_are_refused() -> None:
    with pytest.raises(EmptyInput, match="there are no shards to analyse"):
        map_reduce(see, [])


# Executors


class Lazy(Executor):
    """Computes a shard when its result is asked for, and counts what is submitted and not yet asked for."""

    def __init__(self) -> None:
        self.waiting = 0
        self.most = 0
        self.futures: list[Future[Any]] = []

    def submit(self, step: Callable[..., Any], /, *words: Any, **options: Any) -> Future[Any]:
        assert not options, "Dask would take keywords for itself"
        outer = self

        class Promise(Future[Any]):
            def result(self, timeout: float | None = None) -> Any:
                outer.waiting -= 1
                return step(*words)

        self.waiting += 1
        self.most = max(self.most, self.waiting)
        self.futures.append(Promise())
        return self.futures[-1]


@given(st.integers(1, 40), st.integers(1, 12))
def test_no_more_shards_are_in_flight_than_asked_for(count: int, in_flight: int) -> None:
    executor = Lazy()
    cut = shards(count, size=1)
    assert map_reduce(see, cut, executor=executor, in_flight=in_flight).shards == cut
    assert executor.most == min(in_flight, count)
    assert executor.waiting == 0


class Backwards(Executor):
    """Holds shards back until four are there, then computes the last one first."""

    def __init__(self, total: int) -> None:
        self.left, self.held = total, list[Any]()

    def submit(self, step: Callable[..., Any], /, *words: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.held.append((future, step, words))
        self.left -= 1
        if len(self.held) == 4 or not self.left:
            for held, its_step, its_words in reversed(self.held):
                held.set_result(its_step(*its_words))
            self.held.clear()
        return future


def test_parts_merge_in_the_order_of_the_shards() -> None:
    cut = shards(23, size=2)
    assert map_reduce(see, cut, executor=Backwards(len(cut)), in_flight=4).shards == cut


def test_threads_give_the_bits_of_a_serial_run() -> None:
    cut = shards(1000, size=7)
    with ThreadPoolExecutor(2) as executor:
        assert map_reduce(measure, cut, executor=executor) == map_reduce(measure, cut)


@pytest.fixture
def classifier(tmp_path: Path) -> Network:
    """A network in a file, so that workers can open it."""
    rng = np.random.default_rng(0)
    text = '<ir_version: 8, opset_import: ["" : 18]> g (float[N, 3, 8, 8] x) => (float[N, 10] y) '
    proto = onnx.parser.parse_model(
        text + "{ c = Conv (x, w) r = Relu (c) f = Flatten (r) y = MatMul (f, v) }"
    )
    for name, shape in (("w", (4, 3, 3, 3)), ("v", (144, 10))):
        proto.graph.initializer.append(
            onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        )
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    network: Network = specprobe.load(path, threads=1)
    return network


@pytest.fixture
def pictures(tmp_path: Path) -> ImageSource:
    """Images in a file, so that workers read them themselves."""
    rng = np.random.default_rng(1)
    path = tmp_path / "images.npz"
    np.savez_compressed(
        path, images=rng.integers(0, 256, (400, 8, 8, 3), dtype=np.uint8), labels=rng.integers(0, 10, 400)
    )
    return load_images(path)


@pytest.fixture
def serial(classifier: Network, pictures: ImageSource) -> Accuracy:
    result = accuracy(classifier, pictures)
    assert result.image_correct is not None
    assert result.image_correct.size == 400
    return result


def test_threads_give_the_same_accuracy(classifier: Network, pictures: ImageSource, serial: Accuracy) -> None:
    with ThreadPoolExecutor(2) as executor:
        assert accuracy(classifier, pictures, executor=executor) == serial


@pytest.mark.slow
def test_processes_give_the_same_accuracy(
    classifier: Network, pictures: ImageSource, serial: Accuracy
) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        assert accuracy(classifier, pictures, executor=executor) == serial


@pytest.mark.slow
def test_dask_gives_the_same_accuracy(classifier: Network, pictures: ImageSource, serial: Accuracy) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert accuracy(classifier, pictures, executor=client.get_executor(pure=False)) == serial


@pytest.mark.parametrize("batch_size", [1, 7, 32])
def test_shards_do_not_follow_the_batch_size(batch_size: int) -> None:
    """A classifier whose logits are the first pixels: no batch can change them."""

    class FirstPixels:
        classes = 8

        def __init__(self) -> None:
            self.batches: list[int] = []

        def logits(self, images: Any, /) -> Any:
            self.batches.append(len(images))
            return images[:, 0, 0, :]

    rng = np.random.default_rng(2)
    source = ArraySource(rng.random((150, 1, 8, 8), dtype=np.float32), rng.integers(0, 8, 150))
    sizes: list[int] = []
    classifier = FirstPixels()
    result = accuracy(classifier, source, batch_size=batch_size, progress=sizes.append)
    assert sizes == [64, 128, 150]
    assert max(classifier.batches) == batch_size
    assert sum(classifier.batches) == 150
    assert result == accuracy(FirstPixels(), source, batch_size=150)


# Failures


class Held(Executor):
    """Computes the first ``ready`` shards at once and leaves the others pending."""

    def __init__(self, ready: int) -> None:
        self.ready = ready
        self.futures: list[Future[Any]] = []

    def submit(self, step: Callable[..., Any], /, *words: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if len(self.futures) < self.ready:
            try:
                future.set_result(step(*words))
            except ValueError as error:
                future.set_exception(error)
        self.futures.append(future)
        return future


def fail_at(start: int, error: type[BaseException], shard: Shard) -> Accuracy:
    if shard.start == start:
        msg = f"shard at {start}"
        raise error(msg)
    return measure(shard)


@pytest.mark.parametrize("in_flight", [1, 3, 8])
def test_an_exception_passes_through_and_cancels_the_rest(in_flight: int) -> None:
    executor = Held(ready=3)
    with pytest.raises(ValueError, match="shard at 2"):
        map_reduce(
            partial(fail_at, 2, ValueError), shards(20, size=1), executor=executor, in_flight=in_flight
        )
    assert len(executor.futures) == 2 + in_flight
    assert all(future.cancelled() for future in executor.futures[3:])


def test_an_exception_from_elsewhere_cancels_the_rest_at_once() -> None:
    executor = Held(ready=1)

    def complain(images: int) -> None:
        msg = "the terminal is gone"
        raise BrokenPipeError(msg)

    with pytest.raises(BrokenPipeError, match="the terminal is gone") as caught:
        map_reduce(measure, shards(20, size=1), executor=executor, in_flight=4, progress=complain)
    # The traceback is still held, and with it the frames.
    assert caught.tb is not None
    assert [future.cancelled() for future in executor.futures] == [False, True, True, True]


def test_an_interruption_while_waiting_cancels_all_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    executor = Held(ready=1)

    def interrupt(future: Future[Any], timeout: float | None = None) -> Any:
        if future is not executor.futures[0]:
            raise KeyboardInterrupt
        return measure(Shard(0, 1))

    monkeypatch.setattr(Future, "result", interrupt)
    with pytest.raises(KeyboardInterrupt):
        map_reduce(measure, shards(20, size=1), executor=executor, in_flight=4)
    assert [future.cancelled() for future in executor.futures] == [False, True, True, True, True]


def test_an_exception_of_a_thread_passes_through() -> None:
    with ThreadPoolExecutor(2) as executor, pytest.raises(DataError, match="shard at 50"):
        map_reduce(partial(fail_at, 50, DataError), shards(100, size=5), executor=executor)


def test_progress_counts_images() -> None:
    calls: list[int] = []
    map_reduce(see, shards(10, size=4), progress=calls.append)
    assert calls == [4, 8, 10]
    calls.clear()
    with ThreadPoolExecutor(2) as executor:
        map_reduce(see, shards(10, size=4), progress=calls.append, executor=executor)
    assert calls == [4, 8, 10]


# Partial results


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def checkpoint(
    path: Path, *, resume: bool = False, seconds: float = 1e9, fingerprint: str = "run"
) -> Checkpoint:
    return Checkpoint(path=path / "partial.npz", fingerprint=fingerprint, resume=resume, seconds=seconds)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 30),
    st.integers(1, 7),
    st.lists(st.integers(0, 29), max_size=3),
    st.sampled_from([KeyboardInterrupt, ValueError, MemoryError]),
    st.booleans(),
    st.sampled_from([0.0, 1e9]),
)
def test_interrupted_and_resumed_runs_end_in_the_same_bits(
    images: int, size: int, stops: list[int], error: type[BaseException], threads: bool, seconds: float
) -> None:
    cut = shards(images, size=size)
    wanted = map_reduce(measure, cut)
    with folder() as path, contextlib.ExitStack() as stack:
        executor = stack.enter_context(ThreadPoolExecutor(2)) if threads else None
        for stop in stops:
            start = cut[stop % len(cut)].start
            with contextlib.suppress(error):
                map_reduce(
                    partial(fail_at, start, error),
                    cut,
                    executor=executor,
                    checkpoint=checkpoint(path, resume=True, seconds=seconds),
                )
        resumed = map_reduce(measure, cut, executor=executor, checkpoint=checkpoint(path, resume=True))
        assert resumed == wanted
        assert list(path.iterdir()) == []


def interrupted(path: Path, after: int, cut: tuple[Shard, ...]) -> None:
    with pytest.raises(KeyboardInterrupt):
        map_reduce(partial(fail_at, cut[after].start, KeyboardInterrupt), cut, checkpoint=checkpoint(path))
    assert (path / "partial.npz").exists()


def test_a_resumed_run_computes_only_what_is_left(tmp_path: Path) -> None:
    cut = shards(30, size=3)
    interrupted(tmp_path, 4, cut)
    computed: list[Shard] = []
    images: list[int] = []

    def remembering(shard: Shard) -> Accuracy:
        computed.append(shard)
        return measure(shard)

    result = map_reduce(
        remembering, cut, checkpoint=checkpoint(tmp_path, resume=True), progress=images.append
    )
    assert computed == list(cut[4:])
    assert images == [12, *(shard.stop for shard in cut[4:])]
    assert result == map_reduce(measure, cut)
    assert not (tmp_path / "partial.npz").exists()


def test_a_run_that_was_interrupted_at_its_end_computes_nothing(tmp_path: Path) -> None:
    cut = shards(6, size=3)
    checkpoint(tmp_path).write(2, map_reduce(measure, cut))
    result = map_reduce(partial(fail_at, 0, ValueError), cut, checkpoint=checkpoint(tmp_path, resume=True))
    assert result == map_reduce(measure, cut)


@contextlib.contextmanager
def interrupted_at_line(number: int) -> Iterator[None]:
    """Raise KeyboardInterrupt before the given line that ``map_reduce`` itself executes, as a signal would."""
    left = number

    def at_line(frame: Any, event: str, argument: Any) -> Any:
        nonlocal left
        left -= event == "line"
        if left == 0 and event == "line":
            raise KeyboardInterrupt
        return at_line

    before = sys.gettrace()
    sys.settrace(lambda frame, event, argument: at_line if frame.f_code is map_reduce.__code__ else None)
    try:
        yield
    finally:
        sys.settrace(before)


def test_an_interruption_anywhere_counts_no_shard_twice(tmp_path: Path) -> None:
    cut = shards(9, size=2)
    wanted = map_reduce(measure, cut)
    for number in itertools.count(1):
        try:
            with interrupted_at_line(number):
                map_reduce(measure, cut, checkpoint=checkpoint(tmp_path, seconds=-1))
        except KeyboardInterrupt:
            resumed = map_reduce(measure, cut, checkpoint=checkpoint(tmp_path, resume=True))
            assert resumed == wanted, f"interrupted before line {number}"
        else:
            break
    assert number > 5 * len(cut)


def test_the_old_partial_result_is_ignored_unless_asked_for(tmp_path: Path) -> None:
    cut = shards(12, size=3)
    checkpoint(tmp_path, fingerprint="another").write(3, measure(Shard(0, 9)))
    assert map_reduce(measure, cut, checkpoint=checkpoint(tmp_path)) == map_reduce(measure, cut)
    assert list(tmp_path.iterdir()) == []


def test_partial_results_are_written_while_the_run_lasts(tmp_path: Path) -> None:
    cut = shards(12, size=3)
    found: list[int] = []

    def looking(shard: Shard) -> Accuracy:
        there = checkpoint(tmp_path, resume=True).read()
        found.append(there[0] if there else 0)
        return measure(shard)

    map_reduce(looking, cut, checkpoint=checkpoint(tmp_path, seconds=-1))
    assert found == [0, 1, 2, 3]


def test_a_partial_result_of_another_run_is_refused(tmp_path: Path) -> None:
    cut = shards(12, size=3)
    interrupted(tmp_path, 2, cut)
    with pytest.raises(
        CheckpointError, match=r"partial.npz belongs to another run; delete it, or run without --resume"
    ):
        map_reduce(measure, cut, checkpoint=checkpoint(tmp_path, resume=True, fingerprint="another"))
    assert (tmp_path / "partial.npz").exists()


def _unknown_kind(path: Path) -> None:
    with path.open("wb") as file:
        scalars = '{"kind": "nothing", "fields": {}}'
        save_arrays(file, {"fingerprint": "run", "shards": 1, "scalars": scalars})


def _other_fields(path: Path) -> None:
    with path.open("wb") as file:
        save_arrays(
            file, {"fingerprint": "run", "shards": 1, "scalars": '{"kind": "accuracy", "fields": {}}'}
        )


def _list_of_fields(path: Path) -> None:
    with path.open("wb") as file:
        save_arrays(
            file, {"fingerprint": "run", "shards": 1, "scalars": '{"kind": "accuracy", "fields": []}'}
        )


def _half(path: Path) -> None:
    checkpoint(path.parent).write(1, measure(Shard(0, 9)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flipped(path: Path) -> None:
    checkpoint(path.parent).write(1, measure(Shard(0, 900)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\x03\x04"),
        lambda path: path.write_bytes(b"text"),
        lambda path: path.mkdir(),
        _half,
        _flipped,
        _unknown_kind,
        _other_fields,
        _list_of_fields,
    ],
    ids=[
        "empty",
        "begun",
        "text",
        "folder",
        "half",
        "flipped",
        "unknown kind",
        "other fields",
        "list of fields",
    ],
)
def test_a_spoilt_partial_result_is_refused(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    spoil(tmp_path / "partial.npz")
    with pytest.raises(
        CheckpointError, match=r"partial.npz cannot be read: .*; delete it, or run without --resume"
    ):
        checkpoint(tmp_path, resume=True).read()


def test_a_failing_write_leaves_the_old_partial_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = checkpoint(tmp_path, resume=True)
    point.write(1, measure(Shard(0, 9)))
    old = point.path.read_bytes()

    def fail(file: Any, arrays: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(Checkpoint.write.__globals__, "save_arrays", fail)
    with pytest.raises(
        CheckpointError, match=r"cannot be kept: .* No space left on device; point XDG_CACHE_HOME"
    ):
        point.write(2, measure(Shard(0, 18)))
    assert point.path.read_bytes() == old
    assert [entry.name for entry in tmp_path.iterdir()] == ["partial.npz"]


def test_a_folder_that_cannot_be_made_is_a_checkpoint_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"the partial result cannot be kept: .*File exists"):
        checkpoint(tmp_path / "file").write(1, measure(Shard(0, 9)))


def test_checkpoints_are_named_by_what_the_run_depends_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = {"model": "abc", "seed": 1, "radii": [1, 2]}
    point = Checkpoint.of(settings, resume=True, seconds=3)
    assert point == Checkpoint.of(dict(reversed(settings.items())), resume=True, seconds=3)
    assert point.path.parent == tmp_path / "specprobe" / "partial"
    assert point.path.name == f"{point.fingerprint[:32]}.npz"
    assert Checkpoint.of({**settings, "seed": 2}).path != point.path
    point.write(1, measure(Shard(0, 3)))
    found = point.read()
    assert found is not None
    assert found == (1, measure(Shard(0, 3)))
    point.clear()
    assert point.read() is None
    point.clear()


def test_without_a_cache_variable_the_home_folder_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert Checkpoint.of({}).path.is_relative_to(tmp_path / ".cache")


def test_threads_may_run_several_reductions_at_once() -> None:
    cut = shards(200, size=9)
    wanted = map_reduce(measure, cut)
    results: list[Accuracy] = []
    with ThreadPoolExecutor(2) as executor:
        runs = [
            threading.Thread(target=lambda: results.append(map_reduce(measure, cut, executor=executor)))
            for _ in range(3)
        ]
        for run in runs:
            run.start()
        for run in runs:
            run.join()
    assert results == [wanted] * 3


def test_a_step_is_unpickled_once_in_a_process() -> None:
    """A worker that unpickled its step for every shard would open files and sessions anew each time."""
    pickled = pickle.dumps(_Portable(partial(pow, 2)))
    first, second = pickle.loads(pickled), pickle.loads(pickled)
    assert first is second
    assert first(3) == 8
