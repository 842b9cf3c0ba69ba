"""One graph on one device: arrays in, arrays out, no copy."""

import contextlib
import io
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from specprobe.arrays import Array, cuda_stream, from_dlpack, is_numpy, namespace
from specprobe.errors import DeviceUnavailable, InputMismatch, ModelError
from specprobe.graph.limits import printable
from specprobe.graph.weights import serialise
from specprobe.runtime.device import Device, available_threads, import_onnxruntime

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["OutOfMemory", "Session", "choose_device", "opens"]

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OutOfMemory(ModelError):
    """The device has no room for this batch."""


class Session:
    """A loaded graph. Not picklable: send a :class:`specprobe.runtime.network.Network` to workers instead.

    Parameters
    ----------
    model : onnx_ir.Model
        Flat; weights that lie in other files stay there and are passed by pointer.
    device : Device
        Where every node runs. There is no fallback: what cannot run there raises.
    threads : int, optional
        For one operator; all processors that the process may use if not given.

    Raises
    ------
    DeviceUnavailable
        If the device does not start.
    ModelError
        If the runtime refuses the graph.
    """

    def __init__(self, model: ir.Model, device: Device = Device(), /, *, threads: int | None = None) -> None:  # noqa: B008 - frozen
        ort = import_onnxruntime()
        graph, weights = serialise(model)
        options = _options(ort, device, threads or available_threads())
        # The runtime reads these arrays for as long as the session lives; it does not own them.
        self._weights = [_ort_value(ort, np.ascontiguousarray(array)) for array in weights.values()]
        if weights:
            options.add_external_initializers(list(weights), self._weights)
        self._device = device
        self._ort = ort
        self._session = _open(ort, graph, options, device)
        self._inputs = {value.name: value for value in self._session.get_inputs()}

    @property
    def device(self) -> Device:
        """Where it runs."""
        return self._device

    def placement(self) -> dict[str, int]:
        """How many nodes each execution provider took.

        Returns
        -------
        dict of str to int
            By provider; empty where the runtime is too old to tell.
        """
        ask = getattr(self._session, "get_provider_graph_assignment_info", None)
        if ask is None:
            return {}
        counts: dict[str, int] = {}
        for part in ask():
            counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
        return counts

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str], /) -> tuple[Array, ...]:
        """Evaluate ``outputs``.

        Parameters
        ----------
        feeds : mapping of str to array
            One contiguous array for every input, on the session's device or on the host: the runtime copies the latter
            where the session runs on another device.
        outputs : sequence of str
            Names of outputs of the graph.

        Returns
        -------
        tuple of array
            Of the library and on the device of the feeds. Each shares memory with the runtime and is read-only on
            NumPy.

        Raises
        ------
        InputMismatch
            If an array is missing or not contiguous, or has another shape or dtype than the graph takes.
        OutOfMemory
            If the device has no room for the batch.
        ModelError
            If the runtime cannot evaluate the graph.
        """
        xp = namespace(*feeds.values())
        binding = self._session.io_binding()
        held = [binding, *feeds.values()]
        for name, array in feeds.items():
            value = self._value(name, array)
            held.append(value)
            binding.bind_ortvalue_input(name, value)
        missing = sorted(self._inputs.keys() - feeds.keys())
        if missing:
            msg = f"no array for input '{printable(missing[0])}'; every input of the graph needs one"
            raise InputMismatch(msg)
        on_host = value.device_name().lower() == "cpu"  # what comes from the host goes back there
        for name in outputs:
            if on_host:
                binding.bind_output(name)
            else:
                binding.bind_output(name, self._device.kind, self._device.index)
        stream = cuda_stream(next(iter(feeds.values())))
        if stream is not None:  # onnxruntime's stream does not wait for the one that fills the feeds
            stream.synchronize()
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            raise _translate(error) from error
        return tuple(from_dlpack(value, xp) for value in binding.get_outputs())

    def _value(self, name: str, array: Array) -> Any:
        if name not in self._inputs:
            msg = f"the graph has no input '{printable(name)}'; it has {', '.join(map(printable, self._inputs))}"
            raise InputMismatch(msg)
        if is_numpy(array):
            if not array.flags.c_contiguous:
                msg = f"input '{printable(name)}' is not contiguous (strides {array.strides}); copy it first"
                raise InputMismatch(msg)
            if not array.dtype.isnative:  # the runtime would read the bytes in the machine's order
                msg = f"input '{printable(name)}' is {array.dtype}, in the byte order of another machine; convert it first"
                raise InputMismatch(msg)
            return _ort_value(self._ort, array)
        try:
            return self._ort.OrtValue.from_dlpack(array)
        except (BufferError, RuntimeError, ValueError, TypeError) as error:
            msg = f"input '{printable(name)}' cannot be shared with the runtime: {_first_line(error)}; pass a contiguous array"
            raise InputMismatch(msg) from error


def choose_device(text: str, /) -> Device:
    """Device that ``text`` names, ``auto`` included.

    Parameters
    ----------
    text : str
        ``cpu``, ``cuda``, ``cuda:1``, or ``auto``: the first GPU if it opens a session, else the CPU.

    Returns
    -------
    Device
        Settled.

    Raises
    ------
    DeviceUnavailable
        If ``text`` names no device.
    """
    if text != "auto":
        return Device.parse(text)
    cuda = Device(kind="cuda")
    return cuda if opens(cuda) is None else Device()


@cache
def opens(device: Device, /) -> str | None:
    """Whether a session really runs on ``device``, tried with a one-node graph.

    Parameters
    ----------
    device : Device
        To be tried.

    Returns
    -------
    str or None
        What went wrong; None if it ran.
    """
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 18]> probe (float[N, 4] x) => (float[N, 4] y) { y = Mul(x, x) }'
    )
    try:
        session = Session(model, device, threads=1)
        session.run({"x": np.ones((2, 4), np.float32)}, ["y"])
    except (DeviceUnavailable, ModelError) as error:
        return str(error)
    return None


_lock = threading.Lock()


def _options(ort: "ModuleType", device: Device, threads: int) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if threads > available_threads():
        # Threads that wait by spinning keep those that have work off the processors.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if device.kind != "cpu":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _open(ort: "ModuleType", graph: bytes, options: Any, device: Device) -> Any:
    provider = _PROVIDERS[device.kind]
    settings: dict[str, str] = {}
    if device.kind == "cuda":
        settings = {"device_id": str(device.index), "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
        _preload(ort)
        if provider not in ort.get_available_providers():
            msg = (
                f"this onnxruntime {ort.__version__} has no {provider}; run: "
                'pip uninstall -y onnxruntime && pip install "specprobe[cuda]"'
            )
            raise DeviceUnavailable(msg)
    try:
        session = ort.InferenceSession(graph, options, providers=[(provider, settings)])
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        if device.kind == "cuda" and "CUDA" in str(error):
            msg = f"{device} does not start: {_first_line(error)}; run: specprobe doctor"
            raise DeviceUnavailable(msg) from error
        raise _translate(error) from error
    if provider not in session.get_providers():
        msg = f"{device} does not start: onnxruntime fell back to {session.get_providers()}; run: specprobe doctor"
        raise DeviceUnavailable(msg)
    return session


@cache
def _preload(ort: "ModuleType") -> str:
    """Load the CUDA libraries of the pip packages; it prints what it cannot find, so the text is kept."""
    text = io.StringIO()
    with _lock, contextlib.redirect_stdout(text):
        preload = getattr(ort, "preload_dlls", None)
        if preload is not None:
            preload()
    return text.getvalue()


def _ort_value(ort: "ModuleType", array: "np.ndarray[Any, Any]") -> Any:
    if array.dtype.isbuiltin == 1:
        return ort.OrtValue.ortvalue_from_numpy(array)
    # bfloat16 and the 8-bit floats are no types of NumPy's own: the same bytes, and ONNX's name for them.
    bits = array.view(np.dtype(f"u{array.itemsize}"))
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, ir.DataType.from_numpy(array.dtype).value)


def _translate(error: Exception) -> Exception:
    text = str(error)
    lowered = text.lower()
    if "failed to allocate" in lowered or "out of memory" in lowered or "bad_alloc" in lowered:
        return OutOfMemory(_first_line(error))
    if (
        "invalid dimensions" in lowered
        or "unexpected input data type" in lowered
        or "invalid rank" in lowered
    ):
        return InputMismatch(_first_line(error))
    return ModelError(f"onnxruntime cannot run this graph: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[0]) if lines else type(error).__name__
