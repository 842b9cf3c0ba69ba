"""What specprobe needs to know about arrays beyond the array API standard.

The numerical core takes its namespace from the arrays that it is given (NumPy, CuPy, array-api-strict,
torch). This module is the one place that knows that libraries differ.
"""

import sys
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

import array_api_compat
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = [
    "Array",
    "carried",
    "contiguous",
    "cuda_stream",
    "cupy_devices",
    "device",
    "from_dlpack",
    "is_numpy",
    "like",
    "namespace",
    "to_host",
]

_DLPACK_CPU = 1

P = ParamSpec("P")
R = TypeVar("R")

Array: TypeAlias = Any
"""An array of any library that follows the array API standard."""


def namespace(*arrays: Array) -> Any:
    """Array API namespace that all ``arrays`` share.

    Parameters
    ----------
    *arrays : array
        One array or more.

    Returns
    -------
    module
        The (compatible) namespace.
    """
    return array_api_compat.array_namespace(*arrays)


def device(array: Array, /) -> Any:
    """Device that ``array`` lives on, as its own library names it.

    Parameters
    ----------
    array : array
        Any array.

    Returns
    -------
    object
        To be passed as ``device=`` to the namespace of ``array``.
    """
    return array_api_compat.device(array)


def to_host(array: Array, /) -> "NDArray[Any]":
    """Return ``array`` as NumPy, copied off its device if it has to be.

    Parameters
    ----------
    array : array
        Any array.

    Returns
    -------
    numpy.ndarray
        Shares memory with ``array`` where both live on the host, and may then be read-only.
    """
    if isinstance(array, np.ndarray):
        return array
    if array_api_compat.is_cupy_array(array):
        return np.asarray(array.get())
    if array_api_compat.is_torch_array(array):
        return np.asarray(array.detach().cpu())
    return np.from_dlpack(array, device="cpu")


def is_numpy(array: Array, /) -> bool:
    """Whether ``array`` is a NumPy array.

    Parameters
    ----------
    array : object
        Anything.

    Returns
    -------
    bool
        False for NumPy scalars.
    """
    return isinstance(array, np.ndarray)


def contiguous(array: Array, /) -> Array:
    """``array`` in C order, copied only if it is not.

    Parameters
    ----------
    array : array
        Any array.

    Returns
    -------
    array
        Of the same library and device. The standard has no word for strides: where a library shows none and the
        array is not on the host, it is returned as it is.
    """
    flags = getattr(array, "flags", None)
    if flags is not None and hasattr(flags, "c_contiguous"):  # NumPy, CuPy
        return array if flags.c_contiguous else namespace(array).asarray(array, copy=True, order="C")
    if array_api_compat.is_torch_array(array):
        return array.detach().contiguous()
    if array.__dlpack_device__()[0] == _DLPACK_CPU:
        host = np.from_dlpack(array)
        if not host.flags.c_contiguous:
            return namespace(array).from_dlpack(np.ascontiguousarray(host))
    return array


def from_dlpack(value: Any, xp: Any, /) -> Array:
    """Array of namespace ``xp`` over the memory of ``value``.

    Parameters
    ----------
    value : object
        Anything that speaks DLPack.
    xp : module
        Namespace of the result.

    Returns
    -------
    array
        Shares memory; read-only on NumPy.
    """
    return xp.from_dlpack(value)


def like(values: "NDArray[Any]", array: Array, /) -> Array:
    """Host ``values`` as an array of the library and on the device of ``array``.

    Parameters
    ----------
    values : numpy.ndarray
        Small: it is copied.
    array : array
        Names library and device.

    Returns
    -------
    array
        Of the dtype of ``values``.
    """
    if is_numpy(array):
        return values
    return namespace(array).asarray(values, device=device(array))


def cuda_stream(array: Array, /) -> Any | None:
    """Stream that fills ``array``, to be waited for before another library reads it.

    Parameters
    ----------
    array : array
        Any array.

    Returns
    -------
    object or None
        Has ``synchronize()``; None for arrays on the host.
    """
    if array_api_compat.is_cupy_array(array):
        import cupy

        return cupy.cuda.get_current_stream()
    if array_api_compat.is_torch_array(array) and array.device.type == "cuda":
        return sys.modules["torch"].cuda.current_stream(array.device)
    return None


def carried(function: "Callable[P, R]", /) -> "Callable[P, R]":
    """``function``, for another thread to call: on the CUDA device and stream that CuPy uses in this one.

    Parameters
    ----------
    function : callable
        Whose arrays may live on a GPU.

    Returns
    -------
    callable
        The same function where CuPy has not been imported.
    """
    cupy = sys.modules.get("cupy")
    if cupy is None:
        return function
    device, stream = cupy.cuda.Device(), cupy.cuda.get_current_stream()

    def called(*args: "P.args", **kwargs: "P.kwargs") -> "R":
        with device, stream:
            return function(*args, **kwargs)

    return called


def cupy_devices() -> list[str] | str:
    """GPUs that CuPy sees.

    Returns
    -------
    list of str or str
        Their names; or what keeps CuPy from seeing any.
    """
    try:
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
        return [cupy.cuda.runtime.getDeviceProperties(i)["name"].decode() for i in range(count)]
    except Exception as error:  # noqa: BLE001 - CuPy's import and driver errors share no base class
        return f"{type(error).__name__}: {error}".splitlines()[0]
