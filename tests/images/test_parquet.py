"""Parquet files of encoded pictures."""

import contextlib
import io
import json
import os
import pickle
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from specprobe.errors import DataError, EmptyInput
from specprobe.images import load_images, parquet
from specprobe.recipe import Geometry


def picture(seed: int, size: tuple[int, int] = (6, 5)) -> tuple[np.ndarray[Any, Any], bytes]:
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return values, buffer.getvalue()


def written(
    path: Path, n: int = 7, *, struct: bool = True, names: object = ("cat", "dog"), rows: int = 3
) -> Path:
    cells: list[Any] = [picture(seed)[1] for seed in range(n)]
    if struct:
        cells = [{"bytes": cell, "path": f"{i}.png"} for i, cell in enumerate(cells)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if struct else pa.binary()
    columns = {"image": pa.array(cells, kind), "label": pa.array([i % 2 for i in range(n)], pa.int64())}
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    table = pa.table(columns).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    pq.write_table(table, path, row_group_size=rows)
    return path


@pytest.mark.parametrize("struct", [True, False])
@pytest.mark.parametrize("parts", [[0, 7], [0, 1, 4, 7], [0, 3, 5, 7]])
def test_rows_come_back_in_any_partition(tmp_path: Path, struct: bool, parts: list[int]) -> None:
    source = pickle.loads(pickle.dumps(load_images(written(tmp_path / "a.parquet", struct=struct))))
    stored = np.stack([picture(seed)[0] for seed in range(7)]).transpose(0, 3, 1, 2)
    for start, stop in pairwise(parts):
        wanted = stored[start:stop].astype(np.float32) / np.float32(255)
        assert np.array_equal(source.read(start, stop).images, wanted)
    assert source.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert source.class_names == ("cat", "dog")
    facts = source.describe()
    assert (facts["format"], facts["image_column"], facts["label_column"]) == ("parquet", "image", "label")


def test_geometry_and_channels_apply(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", names=None)
    source = load_images(path, geometry=Geometry(resize=(4, 3)), channels=1)
    assert source.read(0, 7).images.shape == (7, 1, 4, 3)
    assert source.class_names is None


def test_without_labels_or_names(tmp_path: Path) -> None:
    pq.write_table(pa.table({"png": [picture(0)[1]], "id": [3]}), tmp_path / "a.parquet")
    source = load_images(tmp_path / "a.parquet")
    assert (source.images, source.labels, source.class_names) == (1, None, None)


def test_a_forked_process_reads_afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = load_images(written(tmp_path / "a.parquet"))
    before = source.read(0, 2).images
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert np.array_equal(source.read(0, 2).images, before)


def test_bad_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": [1], "y": ["a"]}), path)
    with pytest.raises(DataError, match=r"no column of encoded pictures .*columns are x: int64, y: string"):
        load_images(path)
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), path)
    with pytest.raises(EmptyInput, match="has no rows"):
        load_images(path)
    pq.write_table(pa.table({"image": [picture(0)[1], None], "label": [1, 2]}), path)
    with pytest.raises(DataError, match=r"row 1 of a\.parquet holds no picture bytes"):
        load_images(path).read(0, 2)
    pq.write_table(pa.table({"image": [picture(0)[1]], "label": pa.array([None], pa.int64())}), path)
    with pytest.raises(DataError, match=r"column 'label' of a\.parquet lacks 1 of 1 labels"):
        load_images(path)
    path.write_bytes(b"PAR1" + bytes(30))
    with pytest.raises(DataError, match=r"a\.parquet is not a readable parquet file"):
        load_images(path)
    written(path)
    source = load_images(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"row group 2 of a\.parquet cannot be read"):
        source.read(6, 7)
    written(path)
    monkeypatch.setattr(parquet, "MAX_ROW_GROUP_BYTES", 10)
    with pytest.raises(DataError, match=r"row group 0 of a\.parquet takes \d+ bytes; at most 10"):
        load_images(path)
    monkeypatch.setattr(parquet, "MAX_LABEL_BYTES", 10)
    with pytest.raises(DataError, match=r"has 7 rows; at most 1 are read"):
        load_images(path)


def test_missing_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r'pip install "specprobe\[parquet\]"'):
        load_images(path)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 600), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_footers_are_data_errors(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    path = written(tmp_path_factory.getbasetemp() / "damaged.parquet")
    data = bytearray(path.read_bytes())
    for position, value in changes:
        data[-position] = value
    path.write_bytes(data)
    with contextlib.suppress(DataError):
        source = load_images(path)
        source.read(0, min(source.images, 7))


def test_a_row_group_shorter_than_declared(tmp_path: Path) -> None:
    cells = parquet._Cells(written(tmp_path / "a.parquet"), "image", (0, 4, 7))
    with pytest.raises(DataError, match=r"row group 0 of a\.parquet has 3 rows where 4 are declared"):
        cells.picture(0)
