"""Dropping a guidance branch from a call of the denoiser, and giving its output back whole.

The branch that stays is returned in the place of both, so the pipeline's own formula gives exactly
that branch: u + s (u - u) = u. No pipeline has to be changed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attnscope.families import never_batched

_FOLDED = frozenset(
    {
        "encoder_hidden_states",
        "down_block_additional_residuals",
        "mid_block_additional_residual",
        "down_intrablock_additional_residuals",
    }
)
"""Arguments that may stand once for every frame of a video: rows times frames, row-major."""


def narrowed(value: Any, batch: int, rows: slice) -> Any:
    """Some rows of everything in a call that has the batch's size, at any depth.

    Args:
        value: the call's positional or keyword arguments, or a part of them.
        batch: rows of the call.
        rows: which of them to keep.
    """
    if isinstance(value, Tensor):
        return value[rows] if value.ndim and value.shape[0] == batch else value
    if isinstance(value, dict):
        return {name: _named(name, part, batch, rows) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(narrowed(part, batch, rows) for part in value)
    return value


def _named(name: str, value: Any, batch: int, rows: slice) -> Any:
    if name in never_batched():
        return value
    if name in _FOLDED:
        return _unfolded(value, batch, rows)
    return narrowed(value, batch, rows)


def _unfolded(value: Any, batch: int, rows: slice) -> Any:
    """Some rows of tensors whose first dimension holds the frames of every row of the batch."""
    if isinstance(value, (list, tuple)):
        return type(value)(_unfolded(part, batch, rows) for part in value)
    if not isinstance(value, Tensor) or not value.ndim or len(value) % batch:
        return value
    frames = len(value) // batch
    return value[rows.start * frames : rows.stop * frames]


def widened(output: Any, rows: int, times: int) -> Any:
    """A denoiser's output with its rows repeated.

    Args:
        output: a tuple of tensors, or an output class of diffusers.
        rows: of its tensors.
        times: how often they stand in the result.
    """
    if isinstance(output, Tensor):
        return torch.cat([output] * times) if output.shape[:1] == (rows,) else output
    if isinstance(output, dict):  # diffusers' output classes are
        return type(output)(**{name: widened(part, rows, times) for name, part in output.items()})
    if isinstance(output, (list, tuple)):
        return type(output)(widened(part, rows, times) for part in output)
    return output


def first_tensor(output: Any) -> Tensor:
    """The prediction in what a denoiser returns: a tuple, or an output class of diffusers."""
    prediction: Tensor = output[0] if isinstance(output, tuple) else output.sample
    return prediction
