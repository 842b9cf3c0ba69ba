"""Tables of a page: models side by side, with what tells whether they differ."""

from typing import Any

from specprobe.report.page_tables import tables

METRIC = {
    "name": "accuracy.accuracy",
    "label": "accuracy",
    "values": [0.9, 0.8, None],
    "values_interval": [[0.8, 0.95], [0.7, 0.9], None],
    "differences": [None, -0.1, None],
    "differences_interval": [None, [-0.2, None], None],
    "p_values": [None, 0.004, None],
    "p_values_adjusted": [None, 0.02, None],
    "test": "mcnemar",
    "unit": "",
    "whole": False,
    "detail": False,
}
PARAMETERS = {
    **METRIC,
    "name": "model.parameters",
    "label": "parameters",
    "values": [1000.0, 1500.0, 400.0],
    "differences": [None, 500.0, -600.0],
    "differences_interval": [None, None, None],
    "p_values": [None, None, None],
    "p_values_adjusted": [None, None, None],
    "unit": "B",
    "whole": True,
    "detail": True,
}


def made(*metrics: Any, confidence: float = 0.95) -> Any:
    body = {"models": ["a", "b", "<c>"], "metrics": list(metrics), "confidence": confidence}
    return list(tables(body, None))


def texts(table: Any) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_each_further_model_stands_beside_the_first() -> None:
    first, second = made(METRIC)
    assert (first.caption, second.caption) == ("b and a", "<c> and a")
    assert first.columns == (
        *("metric", "a", "b", "difference", "its interval", "p", "adjusted p", "adjusted p < 0.05"),
    )
    assert texts(first) == [["accuracy", "0.900", "0.800", "-0.100", "[-0.200, –]", "0.004", "0.020", "yes"]]
    assert texts(second) == [["accuracy", "0.900", "–", "", "", "", "", ""]]
    assert first.rows[0][3].key == -0.1, "sorted by the number"


def test_a_difference_that_is_not_established_is_said_to_be_none() -> None:
    first, _ = made(METRIC, confidence=0.99)
    assert first.columns[-1] == "adjusted p < 0.01"
    assert texts(first)[0][-1] == "no"


def test_whole_numbers_stay_whole_and_details_are_folded() -> None:
    shown, _, folded, _ = made(METRIC, PARAMETERS)
    assert (shown.folded, folded.folded) == (False, True)
    assert folded.caption == "b and a, further metrics"
    assert texts(folded) == [["parameters (B)", "1000", "1500", "+500", "", "", "", ""]]
