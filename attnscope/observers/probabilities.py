"""Attention probabilities, recomputed from queries and keys bit by bit, and what is kept of them.

The softmax of a whole image over a whole text is never held: heads and queries are taken in chunks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from attnscope.hooks.attending import Attention

CHUNK = 2**24
"""Probabilities that are held at a time: 64 MiB in float32."""
_TINY = 1e-30


class Reduced(NamedTuple):
    """What is kept of one call of a site.

    Args:
        maps: of every word or point, ``[rows, heads, words, tokens of the image]``, float32; heads
            averaged if they are not asked for, so that there is one.
        mass: the probability that a position pays a word, averaged over positions:
            ``[rows, heads, words]``; where text or a point looks at the image, what it pays to all of it.
        peak: the largest value of a map: likewise.
        spread: the entropy in nats of a map as a distribution over positions: likewise.
        entropy: of the probabilities over all keys: of a point ``[rows, heads, points]``; of words
            averaged over positions, ``[rows, heads, 1]``.
    """

    maps: Tensor
    mass: Tensor
    peak: Tensor
    spread: Tensor
    entropy: Tensor


def reduced(
    attention: Attention, rows: slice, groups: Tensor | None, *, heads: bool, of_text: bool = False
) -> Reduced:
    """Maps of words, and numbers about them.

    Args:
        attention: of a site.
        rows: of its batch that are wanted.
        groups: which tokens of the text are a word's: float32 ``[rows, words, tokens]``, 1 and 0;
            ``None`` leaves every token by itself.
        heads: whether every head has a map of its own.
        of_text: what the text pays to positions of the image, averaged over the tokens of a word, in the
            place of what positions pay to the text, summed over them.
    """
    found = (
        _of_heads(attention, rows, part, groups, of_text=of_text)
        for part in _head_chunks(attention, rows, attention.query.shape[2])
    )
    return _merged(found, attention.query.shape[1], heads=heads)


def looking_from(attention: Attention, rows: slice, points: Tensor, *, heads: bool) -> Reduced:
    """Where single positions of the image look in the image; of no other position is anything computed.

    Args:
        attention: of a site, whose keys hold the image as its queries do.
        rows: of its batch that are wanted.
        points: which of the image's tokens, int64 ``[points]`` on the device.
        heads: whether every head has a map of its own.
    """
    at = points + attention.image.start

    def looked(part: slice) -> Reduced:
        paid = _probabilities(attention, rows, part, at)
        whole = paid[..., attention.image_keys]
        return Reduced(whole, whole.sum(-1), *_shape_of(whole), _entropy(paid))

    found = map(looked, _head_chunks(attention, rows, len(points)))
    return _merged(found, attention.query.shape[1], heads=heads)


def _merged(found: Iterable[Reduced], count: int, *, heads: bool) -> Reduced:
    """That of all heads, of which there are so many, from that of some at a time.

    Where heads are averaged, the maps of those before are not kept: without words they are a softmax.
    """
    maps: list[Tensor] = []
    numbers: list[tuple[Tensor, ...]] = []
    for part in found:
        numbers.append(part[1:])
        if heads:
            maps.append(part.maps)
        elif maps:
            maps[0] += part.maps.sum(1, keepdim=True)
        else:
            maps.append(part.maps.sum(1, keepdim=True))
        del part
    whole = torch.cat(maps, dim=1) if heads else maps[0] / count
    joined = [torch.cat(parts, dim=1) for parts in zip(*numbers, strict=True)]
    return Reduced(whole, *joined)


def _shape_of(maps: Tensor) -> tuple[Tensor, Tensor]:
    """``peak`` and ``spread`` of maps."""
    shares = maps / maps.sum(-1, keepdim=True).clamp_min(_TINY)
    return maps.amax(-1), _entropy(shares)


def _entropy(shares: Tensor) -> Tensor:
    """Over the last dimension, in nats."""
    return -(shares * shares.clamp_min(_TINY).log()).sum(-1)


def _of_heads(
    attention: Attention, rows: slice, heads: slice, groups: Tensor | None, *, of_text: bool
) -> Reduced:
    asking = attention.text if of_text else attention.image
    maps: list[Tensor] = []
    mixed: Tensor | None = None
    entropies = []
    for queries in _query_chunks(attention, rows, heads, asking):
        found = _probabilities(attention, rows, heads, queries)
        entropies.append(_entropy(found).sum(-1, keepdim=True))
        if not of_text:
            words = found[..., attention.text]
            words = words.contiguous() if groups is None else words @ _columns(groups)
            maps.append(words.transpose(-1, -2))
        elif groups is None:
            maps.append(
                found[..., attention.image_keys].contiguous()
            )  # no view of all keys is kept
        else:
            place = slice(queries.start - asking.start, queries.stop - asking.start)
            means = groups / groups.sum(-1, keepdim=True).clamp_min(1)
            part = means[:, None, :, place] @ found[..., attention.image_keys]
            mixed = part if mixed is None else mixed + part
    whole = mixed if mixed is not None else torch.cat(maps, dim=-2 if of_text else -1)
    total = whole.sum(-1)
    return Reduced(
        whole,
        total if of_text else total / whole.shape[-1],
        *_shape_of(whole),
        torch.stack(entropies).sum(0) / (asking.stop - asking.start),
    )


def _columns(groups: Tensor) -> Tensor:
    """``[rows, 1, tokens, words]``."""
    return groups.transpose(-1, -2)[:, None]


def _probabilities(
    attention: Attention, rows: slice, heads: slice, queries: slice | Tensor
) -> Tensor:
    """Of some heads and queries over all keys: float32 ``[rows, heads, queries, keys]``."""
    query = attention.query[rows, heads, queries].float()
    key = attention.key[rows, heads].float()
    scores = query @ key.transpose(-1, -2) * attention.scale
    mask = attention.mask
    if mask is not None:
        mask = mask[(None,) * (4 - mask.ndim)]
        parts = (rows, heads, queries)
        mask = mask[
            tuple(p if n > 1 else slice(None) for p, n in zip(parts, mask.shape, strict=False))
        ]
        scores = (
            scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        )
    return scores.softmax(-1).nan_to_num(0)  # a query that nothing is left to


def _head_chunks(attention: Attention, rows: slice, queries: int) -> Iterator[slice]:
    count = attention.query.shape[1]
    each = (rows.stop - rows.start) * queries * attention.key.shape[2]
    size = max(1, CHUNK // max(1, each))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _query_chunks(
    attention: Attention, rows: slice, heads: slice, asking: slice
) -> Iterator[slice]:
    each = (rows.stop - rows.start) * (heads.stop - heads.start) * attention.key.shape[2]
    size = max(1, CHUNK // max(1, each))
    for start in range(asking.start, asking.stop, size):
        yield slice(start, min(start + size, asking.stop))
