"""What an analysis is given to look at: sources and arrays, and nothing that only looks like one."""

from typing import Any

import numpy as np
import pytest

import specprobe
from specprobe.analysis.source import labelled_source
from specprobe.errors import DataError, InputMismatch
from specprobe.images import ArraySource


class Classes:
    classes = 3

    def logits(self, images: Any, /) -> Any:
        return np.zeros((images.shape[0], 3), np.float32)


PIXELS = np.zeros((4, 1, 2, 2), np.float32)


def test_arrays_become_sources_and_sources_stay() -> None:
    source = ArraySource(PIXELS, np.array([0, 1, 2, 0]))
    assert labelled_source(Classes(), source, None, limit=3) == (source, 3)
    made, count = labelled_source(Classes(), PIXELS, [0, 1, 2, 0], limit=None)
    assert (made.images, count) == (4, 4)


@pytest.mark.parametrize("images", ["test.npz", [PIXELS], (PIXELS, PIXELS)])
def test_paths_and_lists_are_refused_with_what_reads_them(images: Any) -> None:
    with pytest.raises(TypeError, match=r"accepted are arrays .* specprobe\.load_images reads files"):
        labelled_source(Classes(), images, None, limit=None)
    with pytest.raises(TypeError, match=f"images is of type {type(images).__name__}"):
        specprobe.band_accuracy(Classes(), images)


def test_labels_that_are_no_classes_or_too_many_are_refused() -> None:
    with pytest.raises(DataError, match="label 3"):
        labelled_source(Classes(), PIXELS, np.array([0, 1, 2, 3]), limit=None)
    with pytest.raises(InputMismatch, match="labels are given beside a source"):
        labelled_source(Classes(), ArraySource(PIXELS), np.zeros(4, np.int64), limit=None)


@pytest.mark.parametrize("function", [specprobe.accuracy, specprobe.band_accuracy, specprobe.fourier_heatmap])
def test_a_confidence_in_percent_is_refused_before_anything_is_run(function: Any) -> None:
    class Never(Classes):
        def logits(self, images: Any, /) -> Any:
            pytest.fail("the model was run")

    with pytest.raises(ValueError, match="confidence is 95"):
        function(Never(), ArraySource(PIXELS, np.array([0, 1, 2, 0])), confidence=95)
