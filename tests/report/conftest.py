"""Figures as files."""

import io
from collections.abc import Callable
from typing import Any

import pytest

from specprobe.report.figures import draw, save


@pytest.fixture(params=[".png", ".svg"])
def rendered(request: pytest.FixtureRequest) -> Callable[[Any], bytes]:
    """Draws a result under a title that must not become markup; gives the bytes of the file, of one format after the other."""

    def render(result: Any) -> bytes:
        file = io.BytesIO()
        save(draw(result, title="$\\frac{<script>"), file, suffix=request.param, dpi=40)
        assert b"<script>" not in file.getvalue()
        return file.getvalue()

    return render
