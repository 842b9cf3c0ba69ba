"""External data: what opens, what is refused, and what is never read."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specprobe.errors import ExternalDataError, ModelError
from specprobe.graph.external import element_type, is_external, read_external, resolve_location
from specprobe.graph.load import ModelFile, open_model
from specprobe.runtime.network import load

Array = np.ndarray[Any, np.dtype[Any]]
BODY = "g (float[N, 3, 8, 8] x) => (float[N, 5] y) { a = Flatten (x) y = MatMul (a, w) }"
WEIGHT = np.random.default_rng(0).standard_normal((192, 5)).astype(np.float32)


def external(name: str, dims: tuple[int, ...], data_type: int = 1, **entries: object) -> onnx.TensorProto:
    tensor = onnx.TensorProto(
        name=name, data_type=data_type, data_location=onnx.TensorProto.EXTERNAL, dims=dims
    )
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


@pytest.fixture
def model(parse: Callable[..., onnx.ModelProto]) -> Callable[..., onnx.ModelProto]:
    """A model whose weight ``w`` lies elsewhere."""

    def make(dims: tuple[int, ...] = (192, 5), data_type: int = 1, **entries: object) -> onnx.ModelProto:
        proto = parse(BODY)
        proto.graph.initializer.append(external("w", dims, data_type, **entries))
        return proto

    return make


def written(folder: Path, proto: onnx.ModelProto, data: bytes = WEIGHT.tobytes()) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.bin").write_bytes(data)
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def assert_runs(path: Path) -> ModelFile:
    file = open_model(path)
    images = np.random.default_rng(1).random((2, 3, 8, 8), np.float32)
    np.testing.assert_allclose(
        load(file).logits(images), images.reshape(2, -1) @ WEIGHT, rtol=1e-4, atol=1e-5
    )
    return file


@pytest.mark.parametrize("shift", [0, 3, 4, 4096])
def test_weights_are_read_at_any_offset(
    tmp_path: Path, model: Callable[..., onnx.ModelProto], shift: int
) -> None:
    path = written(
        tmp_path, model(location="weights.bin", offset=shift, length=3840), b"\0" * shift + WEIGHT.tobytes()
    )
    file = assert_runs(path)
    assert file.external_files == (tmp_path.resolve() / "weights.bin",)
    assert file.bytes == path.stat().st_size + shift + 3840


def test_small_and_empty_external_tensors_are_read(
    tmp_path: Path, parse: Callable[..., onnx.ModelProto], run: Callable[..., tuple[Array, ...]]
) -> None:
    proto = parse(
        "g (float[N, 5] x) => (float[N, 5] y) { a = Add (x, w) b = Slice (a, e, e, e) y = Identity (a) }"
    )
    proto.graph.initializer.append(external("w", (5,), location="weights.bin", offset=0))
    proto.graph.initializer.append(external("e", (0,), 7, location="weights.bin", offset=20))
    path = written(tmp_path, proto, WEIGHT[0].tobytes())
    (y,) = run(open_model(path).model, x=np.zeros((1, 5), np.float32))
    np.testing.assert_array_equal(y[0], WEIGHT[0])


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("../weights.bin", r"'\.\./weights\.bin', which is not inside the model's folder"),
        ("a/../../weights.bin", "not inside"),
        ("/etc/hostname", "accepted are relative paths without '..'"),
        ("C:\\weights.bin", "not inside"),
        ("C:weights.bin", "not inside"),
        ("\\\\server\\share", "not inside"),
        ("..\\weights.bin", "not inside"),
        ("", "not inside"),
        ("a\0b", "not inside"),
        ("absent.bin", "there is no such file; put it beside the model"),
        ("x" * 5000, "there is no such file"),
        (".", "not a regular file"),
        ("fifo", "not a regular file"),
        ("loop", "leads back to itself|no such file"),
        ("outward", "a link that leaves the model's folder; copy the data file"),
        ("folder/secret.bin", "a link that leaves the model's folder"),
    ],
)
def test_places_that_a_model_may_not_point_at_are_refused(
    tmp_path: Path, model: Callable[..., onnx.ModelProto], location: str, message: str
) -> None:
    path = written(tmp_path / "inside", model(location=location))
    (tmp_path / "weights.bin").write_bytes(WEIGHT.tobytes())
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.bin").write_bytes(WEIGHT.tobytes())
    (path.parent / "outward").symlink_to(tmp_path / "outside" / "secret.bin")
    (path.parent / "folder").symlink_to(tmp_path / "outside")
    (path.parent / "loop").symlink_to("loop")
    os.mkfifo(path.parent / "fifo")
    with pytest.raises(ExternalDataError, match=message) as caught:
        open_model(path)
    assert str(caught.value).isprintable()


def test_a_missing_location_is_refused(tmp_path: Path, model: Callable[..., onnx.ModelProto]) -> None:
    with pytest.raises(ExternalDataError, match="keeps weights in ''"):
        open_model(written(tmp_path, model()))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": 4}, "needs 3840 bytes at offset 4 of 'weights.bin' .None declared., which has 3840"),
        ({"offset": -4}, "at offset -4"),
        ({"offset": 10**30}, "at offset 1000"),
        ({"length": 3836}, "3836 declared"),
        ({"length": -3840}, "-3840 declared"),
        ({"length": 10**30}, "declared"),
        ({"offset": "four"}, "offset or length of its external data is not a number"),
        ({"length": "0x10"}, "is not a number"),
        ({"offset": "9" * 6000}, "is not a number"),
        ({"dims": (-192, -5)}, r"has a negative dimension: \[-192, -5\]"),
        ({"dims": (2**62, 2**62)}, "needs 8507"),
        ({"dims": (2**62,) * 30}, "needs"),
        ({"dims": (193, 5)}, "is not the one that the model was saved with"),
        ({"data_type": 8}, "external data of type number 8 is not supported"),
        ({"data_type": 0}, "external data of type number 0 is not supported"),
        ({"data_type": 99}, "external data of type number 99 is not supported"),
        ({"data_type": 22}, "external data of type INT4 is not supported"),
    ],
)
def test_data_that_does_not_fit_is_refused(
    tmp_path: Path, model: Callable[..., onnx.ModelProto], entries: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExternalDataError, match=message):
        open_model(written(tmp_path, model(**{"location": "weights.bin", **entries})))


@given(st.text(max_size=40))
def test_any_location_is_resolved_inside_or_refused(location: str) -> None:
    folder = Path(__file__).parent
    try:
        found = resolve_location(folder / "model.onnx", location)
    except ExternalDataError as error:
        assert str(error).isprintable()  # noqa: PT017 - nearly every text is refused
    else:
        assert found.is_relative_to(folder)


def test_the_cache_layout_of_hugging_face_opens(
    tmp_path: Path, model: Callable[..., onnx.ModelProto]
) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    (blobs / "1234").write_bytes(model(location="model.onnx_data").SerializeToString())
    (blobs / "5678").write_bytes(WEIGHT.tobytes())
    (snapshot / "model.onnx").symlink_to("../../blobs/1234")
    (snapshot / "model.onnx_data").symlink_to("../../blobs/5678")
    assert assert_runs(snapshot / "model.onnx").external_files == ((blobs / "5678").resolve(),)


def test_a_folder_that_is_a_link_itself_opens(tmp_path: Path, model: Callable[..., onnx.ModelProto]) -> None:
    written(tmp_path / "real", model(location="weights.bin"))
    (tmp_path / "link").symlink_to("real")
    assert_runs(tmp_path / "link" / "model.onnx")


def test_a_relative_path_opens(
    tmp_path: Path, model: Callable[..., onnx.ModelProto], monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "here", model(location="weights.bin"))
    monkeypatch.chdir(tmp_path / "here")
    assert_runs(Path("model.onnx"))


def test_a_hard_link_is_a_file_like_any_other(tmp_path: Path, model: Callable[..., onnx.ModelProto]) -> None:
    path = written(tmp_path, model(location="linked.bin"))
    (tmp_path / "linked.bin").hardlink_to(tmp_path / "weights.bin")
    assert_runs(path)


def test_a_link_put_in_place_after_the_check_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real.bin").write_bytes(WEIGHT.tobytes())
    (tmp_path / "late.bin").symlink_to("real.bin")
    monkeypatch.setattr("specprobe.graph.external.resolve_location", lambda *_: tmp_path / "late.bin")
    with pytest.raises(
        ExternalDataError,
        match=r"'late\.bin', which holds weights of model\.onnx, cannot be read: Too many levels of symbolic links",
    ):
        read_external(external("w", (192, 5), location="late.bin"), tmp_path / "model.onnx")


@pytest.mark.parametrize("kind", ["attribute", "subgraph", "function", "sparse"])
def test_external_data_elsewhere_in_the_graph_is_refused(
    tmp_path: Path, parse: Callable[..., onnx.ModelProto], kind: str
) -> None:
    proto = parse("""g (float[5] x, bool b) => (float[5] y) { c = Constant <value = float[1] {1}> () z = Add (x, c)
        y = If (b) <then_branch = t () => (float[5] u) { u = Relu (x) },
                    else_branch = e () => (float[5] v) { v = Neg (x) }> }""")
    tensor = external("w", (5,), location="weights.bin")
    if kind == "attribute":
        proto.graph.node[0].attribute[0].t.CopyFrom(tensor)
    elif kind == "subgraph":
        proto.graph.node[2].attribute[0].g.initializer.append(tensor)
    elif kind == "function":
        function = onnx.helper.make_function(
            "own", "f", ["x"], ["y"], [onnx.helper.make_node("Relu", ["x"], ["y"])], proto.opset_import
        )
        function.attribute_proto.append(onnx.helper.make_attribute("k", tensor))
        proto.functions.append(function)
    else:
        sparse = onnx.SparseTensorProto(values=tensor, dims=[9])
        proto.graph.node[2].attribute[0].g.sparse_initializer.append(sparse)
    with pytest.raises(ExternalDataError, match="keeps an attribute in another file"):
        open_model(written(tmp_path, proto))


MEMORY = """
import resource, sys
from specprobe.graph.load import open_model
from specprobe.graph.survey import survey
import onnxruntime
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
file = open_model(sys.argv[1])
assert survey(file).parameters == 750_000_000
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_three_gigabytes_of_weights_are_opened_without_being_read(
    tmp_path: Path, parse: Callable[..., onnx.ModelProto]
) -> None:
    proto = parse("g (float[N, 1000] x) => (float[N, 750000] y) { y = MatMul (x, w) }")
    proto.graph.initializer.append(external("w", (1000, 750_000), location="weights.bin"))
    path = written(tmp_path, proto)
    os.truncate(tmp_path / "weights.bin", 3_000_000_000)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100


def test_element_types() -> None:
    assert element_type(1) is not None
    assert element_type(onnx.TensorProto.STRING) is element_type(0) is element_type(1000) is None
    assert is_external(external("w", (1,)))
    assert not is_external(onnx.TensorProto())
    assert issubclass(ExternalDataError, ModelError)
