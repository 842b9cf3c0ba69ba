"""Images from files, folders and arrays, streamed as float32 pixels in [0, 1]."""

from specprobe.images.load import load_images
from specprobe.images.memory import ArraySource
from specprobe.images.source import ImageStream

__all__ = ["ArraySource", "ImageStream", "load_images"]
