"""A model and images, each settling what the other leaves open."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from specprobe.graph.preprocess import image_input, stated_channels
from specprobe.images import load_images
from specprobe.recipe import Preprocessing
from specprobe.runtime.network import load

if TYPE_CHECKING:
    from pathlib import Path

    from specprobe.graph.load import ModelFile
    from specprobe.protocols import ImageSource
    from specprobe.runtime.network import Network

__all__ = ["open_pair"]


def open_pair(
    file: "ModelFile",
    data: "str | Path",
    /,
    *,
    recipe: Preprocessing | None = None,
    labels: "str | Path | None" = None,
    class_map: "str | Path | None" = None,
    limit: int | None = None,
    input_name: str | None = None,
    output_name: str | None = None,
    fixed_inputs: Mapping[str, float] | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> "tuple[Network, ImageSource]":
    """The runnable model, and the images in the size and colour that it takes.

    Parameters
    ----------
    file : ModelFile
        Opened.
    data : str or pathlib.Path
        Images, as of :func:`specprobe.load_images`.
    recipe : Preprocessing, optional
        What turns pixels into the model's input.
    labels, class_map, limit
        As of :func:`specprobe.load_images`.
    input_name, output_name, fixed_inputs, device, threads
        As of :func:`specprobe.load`.

    Returns
    -------
    network : Network
        Opened once already.
    images : ImageSource
        To be read.

    Raises
    ------
    ModelError
        If the file is no classifier of images.
    DataError
        If the images cannot be read.
    """
    recipe = recipe or Preprocessing()
    channels = stated_channels(image_input(file.model, input_name), recipe)
    images = load_images(
        data,
        labels=labels,
        class_map=class_map,
        limit=limit,
        channels=channels if channels in {1, 3} else None,
        geometry=recipe.geometry,
    )
    network = load(
        file,
        preprocessing=recipe,
        input_name=input_name,
        output_name=output_name,
        fixed_inputs=fixed_inputs,
        image_shape=images.image_shape,
        device=device,
        threads=threads,
    )
    return network, images
