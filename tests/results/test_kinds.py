"""Every kind of result has a class."""

import json
from pathlib import Path

from specprobe.results import kinds, result_type

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "schema" / "specprobe-1.schema.json"


def test_every_kind_has_a_class() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    published = set(schema["$defs"]["document"]["properties"]["kind"]["enum"])
    assert published <= kinds._TYPES.keys()
    for kind in kinds._TYPES:
        assert result_type(kind).kind == kind
        assert hasattr(result_type(kind), "from_dict") or kind not in published
