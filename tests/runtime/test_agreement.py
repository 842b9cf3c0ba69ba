"""How far two outputs lie apart."""

import numpy as np

from specprobe.runtime.agreement import probe_images, relative_difference


def test_difference_of_arrays() -> None:
    one = np.array([1.0, -4.0], np.float32)
    assert relative_difference(one, one) == 0
    assert relative_difference(one, one + np.array([0, 1], np.float32)) == 0.25
    assert relative_difference(np.zeros(2), np.array([0.5, 0])) == 0.5
    assert relative_difference(np.zeros((0, 3)), np.zeros((0, 3))) == 0
    for wrong in ([np.nan, 1], [np.inf, 1], [-np.inf, 1]):
        assert relative_difference(np.array(wrong), np.array([1.0, 1])) == np.inf
        assert relative_difference(np.array([1.0, 1]), np.array(wrong)) == np.inf
        assert relative_difference(np.array(wrong), np.array(wrong)) == 0
    assert relative_difference(np.array([np.inf]), np.array([-np.inf])) == np.inf
    assert relative_difference(np.array([np.inf]), np.array([np.nan])) == np.inf
    assert relative_difference(one, one[:1]) == np.inf
    assert relative_difference(np.array([1, 2]), np.array([1, 2])) == 0
    assert relative_difference(np.array([1, 2]), np.array([1, 3])) == np.inf


def test_probes_are_pixels_and_differ_in_density() -> None:
    images = probe_images(6, (3, 16, 16), key=0)
    assert images.dtype == np.float32
    assert images.min() == 0
    assert images.max() <= 1
    density = (images > 0).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(density, [1, 0.1, 0.3] * 2, atol=0.05)
    np.testing.assert_array_equal(images, probe_images(6, (3, 16, 16), key=0))
