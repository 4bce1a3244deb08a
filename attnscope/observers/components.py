"""What a site returns as three numbers a position: principal components of its outputs (Figure A4).

Outputs x of all steps together are centred; v_1, v_2, v_3 are the eigenvectors of their covariance with
the largest eigenvalues, and (x - mean) v_i are the numbers. So they mean the same at every step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attnscope.errors import InputError
from attnscope.observers import tensor_files

if TYPE_CHECKING:
    from attnscope.sites.grids import Layout

Array = NDArray[np.floating[Any]]
COUNT = 3
"""Components that are kept: as many as colours."""


@dataclass(frozen=True)
class Components:
    """Of the outputs of one site for one image or video.

    Args:
        site: its name.
        values: float32 ``[step, component, height, width]``; in videos ``frame`` comes before ``height``.
        axes: their names.
        steps: ``[step]``.
        explained: the share of all variance that each has, ``[component]``.
    """

    site: str
    values: Array
    axes: tuple[str, ...]
    steps: tuple[int, ...]
    explained: tuple[float, ...]


def components_of(site: str, outputs: Mapping[int, Array]) -> Components:
    """The principal components of what a site returned.

    Args:
        site: its name.
        outputs: by step, ``[frames, height, width, channels]``.
    """
    steps = tuple(sorted(outputs))
    shape = outputs[steps[0]].shape
    flat = [outputs[step].reshape(-1, shape[-1]) for step in steps]
    found, explained = principal_components(flat)
    values = np.stack(found).reshape(len(steps), *shape[:-1], COUNT)
    values = np.moveaxis(values, -1, 1)
    frame = ["frame"]
    if shape[0] == 1:
        values, frame = values[:, :, 0], []
    axes = ("step", "component", *frame, "height", "width")
    return Components(site, np.ascontiguousarray(values), axes, steps, explained)


def principal_components(
    outputs: Sequence[Array], count: int = COUNT
) -> tuple[list[NDArray[np.float32]], tuple[float, ...]]:
    """Principal components of several arrays together.

    The sign of each is the one by which its largest loading is positive. Where there are fewer channels
    than components, the others are zero.

    Args:
        outputs: each ``[positions, channels]``.
        count: of components.

    Returns:
        Of each array float32 ``[positions, count]``, and the shares of variance.
    """
    rows = sum(len(array) for array in outputs)
    mean = np.sum([array.sum(0, dtype=np.float64) for array in outputs], 0) / rows
    covariance = np.zeros((len(mean), len(mean)))
    for array in outputs:  # one at a time in double precision
        own = array - mean
        covariance += own.T @ own
    sizes, vectors = np.linalg.eigh(covariance)
    there = min(count, len(mean))
    largest = vectors[:, ::-1][:, :there]
    lead = np.take_along_axis(largest, np.abs(largest).argmax(0)[None], 0)
    axes = np.zeros((len(mean), count))
    axes[:, :there] = largest * np.where(lead < 0, -1, 1)
    shares = np.zeros(count)
    shares[:there] = np.clip(sizes[::-1][:there], 0, None) / max(sizes.clip(0).sum(), 1e-30)
    return [((array - mean) @ axes).astype(np.float32) for array in outputs], tuple(shares.tolist())


def laid_out(output: Array, layout: Layout, site: str, *, text_leads: bool | None) -> Array:
    """What a module returned for one sample, where it lies in the image.

    Args:
        output: ``[tokens, channels]``, of old U-Nets ``[channels, height, width]``; in videos, frames or
            positions may stand before.
        layout: of the run.
        site: its name, for the error.
        text_leads: where text and image are one sequence, whether the text comes first.

    Returns:
        ``[frames, height, width, channels]``.

    Raises:
        InputError: how its tokens are laid out is not known.
    """
    frames = len(layout.shape) == 5
    if output.ndim == 3 + frames:  # channels first
        return np.moveaxis(output if frames else output[None], 1, -1)
    if output.ndim == 2:
        output = output[None]
    apart, tokens, channels = output.shape
    if not layout.is_over_the_image(tokens, apart, site):  # over the frames at a position
        output = output.swapaxes(0, 1)
    output = _of_the_image(output, layout, site, text_leads)
    grid = layout.grid(output.shape[1], site, len(output))
    return output.reshape(-1, grid.height, grid.width, channels)


def _of_the_image(output: Array, layout: Layout, site: str, text_leads: bool | None) -> Array:
    """Without the text, where it is of the same sequence."""
    tokens, text = output.shape[1], layout.text or 0
    try:
        layout.grid(tokens, site, len(output))
    except InputError:
        if text_leads is None or not 0 < text < tokens:
            raise
        return output[:, text:] if text_leads else output[:, : tokens - text]
    return output


def packed(components: Sequence[Components], **about: Any) -> bytes:
    """Components as the bytes of a safetensors file: a tensor a site under its name, its axes as JSON.

    Args:
        components: of several sites, at the same steps.
        about: what else is to stand in the file, such as the prompt; of plain values.
    """
    told = {
        "axes": components[0].axes,
        "steps": components[0].steps,
        "sites": [own.site for own in components],
        "explained": [own.explained for own in components],
        **about,
    }
    tensors = {own.site: own.values.astype(np.float32) for own in components}
    return tensor_files.packed(tensors, told)


def read(path: Path) -> tuple[tuple[Components, ...], Mapping[str, Any]]:
    """Components of every site, and all that stands in their file.

    Raises:
        InputError: it is gone, or holds none.
    """
    tensors, about = tensor_files.read(path, "components")
    try:
        axes, steps = tuple(about["axes"]), tuple(about["steps"])
        found = tuple(
            Components(site, tensors[site], axes, steps, tuple(explained))
            for site, explained in zip(about["sites"], about["explained"], strict=True)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise tensor_files.no(path, "components", error) from error
    return found, about
