"""Arrays in, arrays out, no copy."""

import gc
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import array_api_strict
import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from specprobe.errors import DeviceUnavailable, InputMismatch, ModelError
from specprobe.graph.load import open_model
from specprobe.runtime import session as session_module
from specprobe.runtime.device import Device, import_onnxruntime
from specprobe.runtime.session import OutOfMemory, Session, opens

CUDA = Device(kind="cuda")
on_cpu_runtime = pytest.mark.skipif(
    "CUDAExecutionProvider" in import_onnxruntime().get_available_providers(), reason="this runtime has CUDA"
)
needs_cuda = pytest.mark.skipif(
    "CUDAExecutionProvider" not in import_onnxruntime().get_available_providers(),
    reason="this runtime has no CUDA",
)


def graph(
    body: str, inputs: str = "float[N, 4] x", outputs: str = "float[N, 4] y", opset: int = 18
) -> ir.Model:
    return ir.from_onnx_text(
        f'<ir_version: 9, opset_import: ["" : {opset}]> g ({inputs}) => ({outputs}) {{ {body} }}'
    )


def with_weight(array: Any, body: str, outputs: str) -> ir.Model:
    """Graph whose node reads ``w``, a weight that is beside the graph if it is large."""
    model = graph(
        body, inputs=f"float[N, 4] x, float[{array.shape[0]}, {array.shape[1]}] w", outputs=outputs, opset=19
    )
    value = model.graph.inputs[1]
    tensor = ir.tensor(array, name="w")
    model.graph.inputs.remove(value)
    value.dtype, value.const_value = tensor.dtype, tensor
    model.graph.register_initializer(value)
    return model


@pytest.mark.parametrize(("threads", "spins"), [(1, True), (4, True), (5, False), (256, False)])
def test_more_threads_than_processors_do_not_spin(
    threads: int, spins: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "available_threads", lambda: 4)
    options = session_module._options(import_onnxruntime(), Device(), threads)
    assert options.intra_op_num_threads == threads
    key = "session.intra_op.allow_spinning"
    if spins:
        with pytest.raises(RuntimeError, match=key):
            options.get_session_config_entry(key)
    else:
        assert options.get_session_config_entry(key) == "0"


@pytest.fixture
def doubling() -> Session:
    return Session(graph("y = Add (x, x)"))


@pytest.mark.parametrize("writeable", [True, False])
def test_numpy_goes_in_without_a_copy(doubling: Session, writeable: bool) -> None:
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    x.flags.writeable = writeable
    assert doubling._value("x", x).data_ptr() == x.ctypes.data
    assert np.array_equal(doubling.run({"x": x}, ["y"])[0], 2 * x)


def test_other_libraries_go_in_without_a_copy(doubling: Session) -> None:
    host = np.arange(8, dtype=np.float32).reshape(2, 4)
    x = array_api_strict.asarray(host, copy=False)
    assert doubling._value("x", x).data_ptr() == host.ctypes.data


def test_outputs_share_memory_with_the_runtime(doubling: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    pointers = []

    def remembering(value: Any, xp: Any) -> Any:
        pointers.append(value.data_ptr())
        return xp.from_dlpack(value)

    monkeypatch.setattr(session_module, "from_dlpack", remembering)
    (y,) = doubling.run({"x": np.ones((2, 4), np.float32)}, ["y"])
    assert [y.ctypes.data] == pointers
    assert not y.flags.writeable


def test_outputs_outlive_the_session() -> None:
    session = Session(graph("y = Add (x, x)"))
    (y,) = session.run({"x": np.full((200, 4), 3, np.float32)}, ["y"])
    del session
    gc.collect()
    assert np.array_equal(y, np.full((200, 4), 6, np.float32))


def test_strict_in_strict_out(doubling: Session) -> None:
    x = array_api_strict.asarray([[1.0, 2.0, 3.0, 4.0]], dtype=array_api_strict.float32)
    (y,) = doubling.run({"x": x}, ["y"])
    assert isinstance(y, type(x))
    assert y.dtype == array_api_strict.float32
    assert np.asarray(y).tolist() == [[2, 4, 6, 8]]


def test_outputs_come_in_the_order_asked_for() -> None:
    session = Session(graph("y = Add (x, x) z = Neg (x)", outputs="float[N, 4] y, float[N, 4] z"))
    x = np.ones((1, 4), np.float32)
    z, y = session.run({"x": x}, ["z", "y"])
    assert (z[0, 0], y[0, 0]) == (-1, 2)
    assert len(session.run({"x": x}, ["z"])) == 1


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({"x": np.ones((4, 2), np.float32).T}, r"input 'x' is not contiguous \(strides \(4, 8\)\)"),
        ({"x": np.ones((2, 4), np.float64)}, r"Unexpected input data type.*double.*float"),
        ({"x": np.ones((2, 5), np.float32)}, "invalid dimensions for input: x"),
        ({"x": np.ones(4, np.float32)}, "Invalid rank for input: x Got: 1 Expected: 2"),
        ({"x": np.ones((2, 4), np.dtype(">f4"))}, "input 'x' is >f4, in the byte order of another machine"),
        ({"q\x1b": np.ones((2, 4), np.float32)}, "no input 'q\ufffd'; it has x"),
    ],
    ids=["strides", "dtype", "shape", "rank", "byte order", "name"],
)
def test_arrays_that_do_not_fit_are_refused(doubling: Session, feeds: dict[str, Any], message: str) -> None:
    with pytest.raises(InputMismatch, match=message):
        doubling.run(feeds, ["y"])


def test_an_array_that_cannot_be_shared_is_refused(doubling: Session) -> None:
    x = array_api_strict.ones((2, 4), dtype=array_api_strict.bool)
    x = array_api_strict.permute_dims(x, (1, 0))
    with pytest.raises(
        InputMismatch, match=r"input 'x' cannot be shared with the runtime: .*; pass a contiguous array"
    ):
        doubling.run({"x": x}, ["y"])


def test_a_missing_array_is_refused() -> None:
    session = Session(graph("y = Add (x, z)", inputs="float[N, 4] x, float[N, 4] z"))
    with pytest.raises(InputMismatch, match="no array for input 'z'"):
        session.run({"x": np.ones((2, 4), np.float32)}, ["y"])


def test_an_unknown_output_is_refused(doubling: Session) -> None:
    with pytest.raises(ModelError, match=r"onnxruntime cannot run this graph: .*Invalid output name: nope"):
        doubling.run({"x": np.ones((2, 4), np.float32)}, ["nope"])


def test_a_graph_that_fails_at_run_time_says_where() -> None:
    session = Session(graph("y = Reshape (x, s)", inputs="float[N, 4] x, int64[2] s"))
    with pytest.raises(ModelError, match=r"onnxruntime cannot run this graph: .*Reshape"):
        session.run({"x": np.ones((2, 4), np.float32), "s": np.array([3, 3])}, ["y"])


def test_a_graph_that_the_runtime_refuses_is_a_model_error() -> None:
    with pytest.raises(ModelError, match=r"onnxruntime cannot run this graph: .*NoSuchThing"):
        Session(graph("y = NoSuchThing (x)"))


def test_four_threads_share_one_session(doubling: Session) -> None:
    def run(seed: int) -> bool:
        x = np.random.default_rng(seed).random((1 + seed % 7, 4), dtype=np.float32)
        return bool(np.array_equal(doubling.run({"x": x}, ["y"])[0], x + x))

    with ThreadPoolExecutor(4) as executor:
        assert all(executor.map(run, range(400)))


def test_large_weights_stay_alive_without_the_model() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 600)).astype(np.float32)
    model = with_weight(weight.copy(), "y = MatMul (x, w)", "float[N, 600] y")
    session = Session(model)
    del model
    gc.collect()
    assert [value.shape() for value in session._weights] == [[4, 600]]
    x = np.random.default_rng(1).random((5, 4), dtype=np.float32)
    for _ in range(3):
        churn = [np.full((4, 600), np.nan, np.float32) for _ in range(20)]
        assert np.allclose(session.run({"x": x}, ["y"])[0], x @ weight, atol=1e-5)
        del churn


def test_large_weights_are_passed_by_pointer() -> None:
    weight = np.ones((4, 600), np.float32)
    session = Session(with_weight(weight, "y = MatMul (x, w)", "float[N, 600] y"))
    assert [value.data_ptr() for value in session._weights] == [weight.ctypes.data]


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float64, np.int8, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_large_weights_of_every_type_arrive(dtype: Any, order: Any) -> None:
    weight = np.asarray(np.arange(4800).reshape(4, 1200) % 13, dtype=dtype, order=order)
    session = Session(with_weight(weight, "c = Cast <to = 1> (w) y = MatMul (x, c)", "float[N, 1200] y"))
    assert len(session._weights) == 1
    x = np.eye(4, dtype=np.float32)
    assert np.array_equal(session.run({"x": x}, ["y"])[0], weight.astype(np.float32))


def test_external_data_in_another_folder_is_found(
    save_model: Callable[..., Path],
    images: Any,
    expected: Callable[[Any], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = save_model(name="deep/down/model.onnx", external="weights/all.bin")
    monkeypatch.chdir(tmp_path)
    file = open_model(path.relative_to(tmp_path))
    assert [data.name for data in file.external_files] == ["all.bin"]
    session = Session(file.model)
    del file
    monkeypatch.chdir(os.sep)
    gc.collect()
    assert np.allclose(session.run({"images": images}, ["logits"])[0], expected(images), atol=1e-5)


def test_placement_counts_nodes(doubling: Session) -> None:
    assert doubling.placement() == {"CPUExecutionProvider": 1}
    assert doubling.device == Device()


def test_placement_of_a_runtime_that_cannot_tell_is_empty(doubling: Session) -> None:
    doubling._session = SimpleNamespace()
    assert doubling.placement() == {}


def test_threads_reach_the_runtime() -> None:
    session = Session(graph("y = Add (x, x)"), threads=1)
    options = session._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


def test_the_cpu_opens() -> None:
    assert opens(Device()) is None


@on_cpu_runtime
def test_cuda_on_a_cpu_runtime_is_refused_with_the_remedy() -> None:
    with pytest.raises(
        DeviceUnavailable,
        match=r'has no CUDAExecutionProvider; run: pip uninstall -y onnxruntime && pip install "specprobe\[cuda\]"',
    ):
        Session(graph("y = Add (x, x)"), CUDA)
    assert "no CUDAExecutionProvider" in str(opens(CUDA))
    assert session_module.choose_device("auto") == Device()


class FakeRuntime:
    """A runtime with a CUDA provider, and what its sessions do."""

    __version__ = "9.9"

    def __init__(self, *, providers: tuple[str, ...] = (), failure: str | None = None) -> None:
        self.providers, self.failure = providers, failure
        self.asked: list[Any] = []

    def preload_dlls(self) -> None:
        sys.stdout.write("a library was not found")

    def get_available_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def InferenceSession(self, content: bytes, options: Any, providers: Any) -> Any:  # noqa: N802 - the runtime's name
        self.asked = providers
        if self.failure is not None:
            raise RuntimeError(self.failure)
        return SimpleNamespace(get_providers=lambda: list(self.providers))


def test_falling_back_to_the_cpu_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    runtime = FakeRuntime(providers=("CPUExecutionProvider",))
    with pytest.raises(
        DeviceUnavailable, match=r"cuda:1 does not start: onnxruntime fell back to \['CPUExecutionProvider'\]"
    ):
        session_module._open(runtime, b"", None, Device(kind="cuda", index=1))  # type: ignore[arg-type] # a fake
    assert capsys.readouterr().out == ""
    ((provider, settings),) = runtime.asked
    assert provider == "CUDAExecutionProvider"
    assert settings == {"device_id": "1", "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}


def test_a_gpu_that_does_not_start_is_refused() -> None:
    runtime = FakeRuntime(failure="CUDA failure 100: no CUDA-capable device is detected\nmore")
    with pytest.raises(
        DeviceUnavailable, match=r"cuda:0 does not start: CUDA failure 100: .*; run: specprobe doctor"
    ):
        session_module._open(runtime, b"", None, CUDA)  # type: ignore[arg-type] # a fake


def test_a_graph_that_the_gpu_cannot_hold_whole_is_a_model_error() -> None:
    runtime = FakeRuntime(failure="This session contains graph nodes that are assigned to the default CPU EP")
    with pytest.raises(
        ModelError, match="onnxruntime cannot run this graph: This session contains graph nodes"
    ):
        session_module._open(runtime, b"", None, CUDA)  # type: ignore[arg-type] # a fake


def test_fallback_is_forbidden_on_a_gpu_only() -> None:
    ort = import_onnxruntime()
    key = "session.disable_cpu_ep_fallback"
    assert session_module._options(ort, CUDA, 2).get_session_config_entry(key) == "1"
    with pytest.raises(RuntimeError):
        session_module._options(ort, Device(), 2).get_session_config_entry(key)


def test_a_runtime_that_cannot_preload_libraries_is_used_as_it_is() -> None:
    class Old(FakeRuntime):
        preload_dlls = None  # type: ignore[assignment] # before onnxruntime 1.21

    assert session_module._open(Old(providers=("CUDAExecutionProvider",)), b"", None, CUDA)  # type: ignore[arg-type] # a fake


class Recording:
    """A binding that notes where outputs go and when the run comes."""

    def __init__(self, log: list[Any]) -> None:
        self.log = log

    def bind_ortvalue_input(self, name: str, value: Any) -> None:
        self.log.append(("input", name))

    def bind_output(self, *where: Any) -> None:
        self.log.append(("output", *where))

    def get_outputs(self) -> list[Any]:
        return [np.ones(1)]


def test_arrays_on_the_gpu_are_waited_for_and_stay_there(
    doubling: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[Any] = []
    binding = Recording(log)
    doubling._session = SimpleNamespace(
        io_binding=lambda: binding, run_with_iobinding=lambda bound: log.append(("run", bound is binding))
    )
    doubling._device = Device(kind="cuda", index=1)
    stream = SimpleNamespace(synchronize=lambda: log.append("waited"))
    monkeypatch.setattr(session_module, "cuda_stream", lambda array: stream)
    monkeypatch.setattr(doubling, "_value", lambda name, array: SimpleNamespace(device_name=lambda: "cuda"))
    doubling.run({"x": np.ones((2, 4), np.float32)}, ["y"])
    assert log == [("input", "x"), ("output", "y", "cuda", 1), "waited", ("run", True)]


def test_what_comes_from_the_host_goes_back_to_the_host(doubling: Session) -> None:
    doubling._device = CUDA  # outputs bound there would fail on this runtime
    x = np.ones((2, 4), np.float32)
    assert np.array_equal(doubling.run({"x": x}, ["y"])[0], x + x)


@pytest.mark.parametrize(
    "text",
    [
        "Failed to allocate memory for requested buffer of size 9",
        "CUDA error: out of memory",
        "std::bad_alloc",
    ],
)
def test_out_of_memory_has_its_own_type(text: str) -> None:
    error = session_module._translate(RuntimeError(f"\n{text}\nsecond line"))
    assert isinstance(error, OutOfMemory)
    assert str(error) == text


def test_an_error_without_words_keeps_its_type() -> None:
    assert str(session_module._translate(MemoryError())) == "onnxruntime cannot run this graph: MemoryError"


@pytest.mark.cuda
@needs_cuda
def test_cuda_agrees_with_the_cpu() -> None:
    body = "c = Conv <pads = [1, 1, 1, 1]> (x, w) r = Relu (c) y = GlobalAveragePool (r)"
    text = f'<ir_version: 9, opset_import: ["" : 18]> g (float[N, 3, 32, 32] x) => (float[N, 16, 1, 1] y) {{ {body} }}'
    weight = np.random.default_rng(0).normal(size=(16, 3, 3, 3)).astype(np.float32)
    model = ir.from_onnx_text(text, initializers=[ir.tensor(weight, name="w")])
    x = np.random.default_rng(1).random((8, 3, 32, 32), dtype=np.float32)
    (on_cpu,) = Session(model).run({"x": x}, ["y"])
    session = Session(model, CUDA)
    (on_gpu,) = session.run({"x": x}, ["y"])
    assert isinstance(on_gpu, np.ndarray)
    assert np.allclose(on_cpu, on_gpu, rtol=1e-4, atol=1e-4)
    assert "CPUExecutionProvider" not in session.placement()


@pytest.mark.cuda
@needs_cuda
def test_cupy_in_cupy_out() -> None:
    cupy = pytest.importorskip("cupy")
    session = Session(graph("y = Add (x, x)"), CUDA)
    x = cupy.arange(8, dtype=cupy.float32).reshape(2, 4)
    assert session._value("x", x).data_ptr() == x.data.ptr
    (y,) = session.run({"x": x}, ["y"])
    assert isinstance(y, cupy.ndarray)
    assert y.device == x.device
    assert cupy.array_equal(y, x + x)
    with pytest.raises(InputMismatch, match="pass a contiguous array"):
        session.run({"x": cupy.ones((4, 2), cupy.float32).T}, ["y"])


@pytest.mark.slow
@pytest.mark.cuda
@needs_cuda
def test_a_run_waits_for_the_stream_that_fills_its_input() -> None:
    cupy = pytest.importorskip("cupy")
    fill = cupy.RawKernel(
        """extern "C" __global__ void fill(float* x, int n, float value) {
            long long start = clock64();
            while (clock64() - start < 20000000) {}
            int i = blockIdx.x * blockDim.x + threadIdx.x;
            if (i < n) x[i] = value;
        }""",
        "fill",
    )
    session = Session(graph("y = Add (x, x)"), CUDA)
    with cupy.cuda.Stream(non_blocking=True):
        x = cupy.zeros((64, 4), cupy.float32)
        for turn in range(100):
            fill((1,), (256,), (x, np.int32(256), np.float32(turn)))
            (y,) = session.run({"x": x}, ["y"])
            assert cupy.all(y == 2 * turn)
