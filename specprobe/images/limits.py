"""How much a file may ask for before it is refused.

Pixels are streamed, so none of these bounds the size of a data set in memory: they bound what one hostile or damaged
file can cost.
"""

__all__ = [
    "MAX_EXPANDED_BYTES",
    "MAX_LABEL_BYTES",
    "MAX_PICTURE_PIXELS",
    "MAX_RATIO",
    "MAX_ROW_GROUP_BYTES",
    "MAX_TABLE_BYTES",
    "RATIO_FREE_BYTES",
]

MAX_EXPANDED_BYTES = 1 << 38
"""Sum of the declared sizes in one archive (256 GiB)."""

MAX_RATIO = 200
"""Expanded by compressed bytes. Zeros reach 229 (fastest deflate) to 1032 (best); photographs stay below 10."""

RATIO_FREE_BYTES = 1 << 24
"""Members up to this size (16 MiB) may have any ratio: sorted labels legitimately compress a hundredfold."""

MAX_LABEL_BYTES = 1 << 30
"""Labels are the one member read whole."""

MAX_TABLE_BYTES = 1 << 28
"""Label tables and class maps, as text."""

MAX_PICTURE_PIXELS = 89_478_485
"""Width by height of one picture, as stored and after resizing; the size from which Pillow itself warns."""

MAX_ROW_GROUP_BYTES = 1 << 31
"""Encoded pictures of one parquet row group, which are held together."""
