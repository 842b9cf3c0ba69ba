"""Random numbers that depend on what they are for, not on when they are drawn.

Each stream is keyed by seed, purpose and image index, so batches, shards, devices, workers and restarts change nothing.
"""

import hashlib

import numpy as np

__all__ = ["generator"]


def generator(seed: int, purpose: str, index: int = 0, /) -> np.random.Generator:
    """Stream of random numbers of one image for one purpose.

    Parameters
    ----------
    seed : int
        The user's seed, 0 or above.
    purpose : str
        Stable name of the use, such as ``"heatmap/sign"``.
    index : int
        Index of the image in its source.

    Returns
    -------
    numpy.random.Generator
        A Philox stream of its own: 2**128 numbers lie between it and that of the next image.

    Examples
    --------
    >>> bool(generator(1, "sign", 5).random() == generator(1, "sign", 5).random())
    True
    >>> bool(generator(1, "sign", 5).random() == generator(1, "sign", 6).random())
    False
    """
    key = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=16).digest()
    counter = np.zeros(4, np.uint64)
    counter[2] = index  # Philox counts up in word 0; word 2 is 2**128 steps away
    return np.random.Generator(np.random.Philox(key=np.frombuffer(key, "<u8").copy(), counter=counter))
