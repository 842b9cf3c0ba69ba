"""A small result."""

import numpy as np
import pytest

from specprobe.analysis.accuracy import Accuracy


@pytest.fixture
def result() -> Accuracy:
    """Of four images, three of them right, with its numbers of each image."""
    return Accuracy(
        images=4,
        correct=3,
        class_histogram={"0": 2, "7": 2},
        prediction_histogram={"0": 1, "7": 3},
        confidence=0.1 + 0.2,
        image_correct=np.array([True, False, True, True]),
        image_digest=np.arange(64, dtype=np.uint8).reshape(4, 16),
    )
