"""What libraries of arrays do differently."""

import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType, SimpleNamespace
from typing import Any

import array_api_strict
import numpy as np
import pytest

from specprobe import arrays
from specprobe.arrays import (
    carried,
    contiguous,
    cuda_stream,
    device,
    from_dlpack,
    is_numpy,
    like,
    namespace,
    to_host,
)


@pytest.mark.parametrize("xp", [np, array_api_strict])
def test_to_host_and_like_undo_each_other(xp: Any) -> None:
    array = xp.asarray([[1.0, 2.0], [3.0, 4.0]], dtype=xp.float32)
    host = to_host(array)
    assert isinstance(host, np.ndarray)
    assert host.dtype == np.float32
    assert host.tolist() == [[1, 2], [3, 4]]
    again = like(host, array)
    assert isinstance(again, type(array))
    assert again.dtype == array.dtype
    assert device(again) == device(array)
    assert np.array_equal(to_host(again), host)


def test_to_host_does_not_copy_what_is_there() -> None:
    host = np.ones(4)
    assert to_host(host) is host
    strict = array_api_strict.asarray(host, copy=False)
    assert to_host(strict).ctypes.data == host.ctypes.data


@pytest.mark.parametrize("xp", [np, array_api_strict])
def test_from_dlpack_shares_memory(xp: Any) -> None:
    host = np.ones(4, np.float32)
    array = from_dlpack(host, xp)
    assert isinstance(array, type(xp.ones(1)))
    assert to_host(array).ctypes.data == host.ctypes.data


def test_namespaces_do_not_mix() -> None:
    assert namespace(np.ones(1), np.ones(2)) is namespace(np.ones(1))
    with pytest.raises(TypeError, match="Multiple namespaces"):
        namespace(np.ones(1), array_api_strict.ones(1))


def test_only_arrays_of_numpy_are_numpy() -> None:
    assert is_numpy(np.ones(1))
    assert not is_numpy(np.float32(1))
    assert not is_numpy(array_api_strict.ones(1))
    assert not is_numpy([1.0])


@pytest.mark.parametrize("xp", [np, array_api_strict])
def test_contiguous_copies_only_what_is_not(xp: Any) -> None:
    fine = xp.reshape(xp.arange(24, dtype=xp.float32), (2, 3, 4))
    assert contiguous(fine) is fine
    for view in (xp.permute_dims(fine, (2, 0, 1)), fine[:, ::2, :], fine[:, :, ::-1], fine[..., 1:]):
        copy = contiguous(view)
        assert isinstance(copy, type(fine))
        assert to_host(copy).flags.c_contiguous
        assert np.array_equal(to_host(copy), to_host(view))


def test_contiguous_leaves_other_devices_alone() -> None:
    far = SimpleNamespace(__dlpack_device__=lambda: (2, 0))
    assert contiguous(far) is far


def test_arrays_on_the_host_have_no_stream() -> None:
    assert cuda_stream(np.ones(1)) is None
    assert cuda_stream(array_api_strict.ones(1)) is None


class Tensor:
    """What is asked of torch's class of this name."""

    def __init__(self, values: Any, *, kind: str = "cpu", steps: tuple[str, ...] = ()) -> None:
        self.values, self.device, self.steps = values, SimpleNamespace(type=kind), steps

    def detach(self) -> "Tensor":
        return Tensor(self.values, kind=self.device.type, steps=(*self.steps, "detach"))

    def cpu(self) -> "Tensor":
        return Tensor(self.values, steps=(*self.steps, "cpu"))

    def contiguous(self) -> "Tensor":
        return Tensor(
            np.ascontiguousarray(self.values), kind=self.device.type, steps=(*self.steps, "contiguous")
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        assert self.device.type == "cpu", "torch refuses to be read off the GPU"
        assert "detach" in self.steps, "torch refuses tensors that require a gradient"
        return np.asarray(self.values)


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    module: Any = ModuleType("torch")
    module.Tensor = Tensor
    module.cuda = SimpleNamespace(current_stream=lambda where: f"stream of {where.type}")
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


def test_tensors_of_torch_are_detached(torch: Any) -> None:
    assert np.array_equal(to_host(Tensor(np.arange(3), kind="cuda")), np.arange(3))
    assert contiguous(Tensor(np.ones((2, 3)).T)).steps == ("detach", "contiguous")


def test_tensors_on_a_gpu_have_the_current_stream(torch: Any) -> None:
    assert cuda_stream(Tensor(np.ones(1), kind="cuda")) == "stream of cuda"
    assert cuda_stream(Tensor(np.ones(1))) is None


class ndarray:  # noqa: N801 - CuPy's name
    """What is asked of CuPy's class of this name."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def get(self) -> Any:
        return self.values


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Any:
    module: Any = ModuleType("cupy")
    module.ndarray = ndarray
    runtime = SimpleNamespace(
        getDeviceCount=lambda: 2, getDeviceProperties=lambda index: {"name": f"GPU {index}".encode()}
    )
    module.cuda = SimpleNamespace(get_current_stream=lambda: "the current stream", runtime=runtime)
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


def test_arrays_of_cupy_are_fetched_and_have_a_stream(cupy: Any) -> None:
    assert np.array_equal(to_host(ndarray(np.arange(3))), np.arange(3))
    assert cuda_stream(ndarray(np.arange(3))) == "the current stream"


def test_gpus_that_cupy_sees(cupy: Any) -> None:
    assert arrays.cupy_devices() == ["GPU 0", "GPU 1"]


def test_what_keeps_cupy_from_seeing_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert "ModuleNotFoundError: " in arrays.cupy_devices()


@pytest.mark.cuda
def test_cupy_itself() -> None:
    real = pytest.importorskip("cupy")
    array = real.arange(6, dtype=real.float32).reshape(2, 3)
    assert to_host(array).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert contiguous(array) is array
    assert contiguous(array.T).flags.c_contiguous
    assert isinstance(like(np.ones(2, np.float32), array), real.ndarray)
    assert cuda_stream(array) == real.cuda.get_current_stream()


def test_without_cupy_nothing_is_carried() -> None:
    if "cupy" not in sys.modules:
        assert carried(np.sum) is np.sum


@pytest.mark.cuda
def test_device_and_stream_are_carried_into_another_thread() -> None:
    cupy = pytest.importorskip("cupy")
    with cupy.cuda.Stream(non_blocking=True) as stream, ThreadPoolExecutor(1) as thread:
        assert thread.submit(carried(cupy.cuda.get_current_stream)).result() == stream
