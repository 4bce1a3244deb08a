"""Costs at other resolutions and lengths of the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attnscope.cost.counts import Convention, Counts, counted

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.models.architectures import Architecture


def counts_of(
    model: str = "shapes",
    *,
    height: int | None = None,
    width: int | None = None,
    tokens: int | None = None,
    frames: int | None = None,
) -> Counts:
    """Count one call of a model's denoiser on one row, without weights and without memory.

    Args:
        model: short name (see :func:`attnscope.models.architectures.names`), hub id or folder.
        height: in pixels; ``None`` is the model's own, as for all that follow.
        width: in pixels; ``None`` with a height given is square.
        tokens: of the text.
        frames: of the latents of a video.

    Raises:
        InputError: the model is not known, or it does not take the size.
    """
    from attnscope.cost import counting
    from attnscope.models import architectures

    architecture = architectures.find(model).resized(height, width, tokens, frames)
    return counting.count_architecture(architecture)


def scaling(
    model: str | Architecture,
    *,
    sizes: Sequence[int] | None = None,
    tokens: Sequence[int] | None = None,
) -> pd.DataFrame:
    """What one call on one row costs at other resolutions and lengths of the text (Table A6).

    Resolutions are taken with the model's own number of tokens, lengths with its own resolution;
    what is given twice is taken once.

    Args:
        model: as of :func:`counts_of`, or an architecture at a size of one's own.
        sizes: heights in pixels, the aspect ratio stays; ``None`` is half to four times the model's.
        tokens: ``None`` is 1 to 4096 times the model's, as in the paper.

    Returns:
        Columns ``axis`` (``resolution`` or ``tokens``), ``height``, ``width``, ``tokens``,
        ``part``, ``macs``.

    Raises:
        InputError: as of :func:`counts_of`.
    """
    import pandas as pd

    from attnscope.cost import counting
    from attnscope.models import architectures

    own = architectures.find(model) if isinstance(model, str) else model
    ratio = own.width / own.height
    cases = [("resolution", height, own.fitting(height * ratio), own.tokens)
             for height in sizes or [own.fitting(own.height * f) for f in (0.5, 1, 1.5, 2, 3, 4)]]  # fmt: skip
    cases += [("tokens", own.height, own.width, length)
              for length in tokens or [own.tokens * 4**power for power in range(7)]]  # fmt: skip
    parts = []
    for axis, height, width, length in dict.fromkeys(cases):  # small sizes fit to the same one
        counts = counting.count_architecture(own.resized(height, width, length))
        table = pd.DataFrame(counts.parts.items(), columns=["part", "macs"])
        parts.append(table.assign(axis=axis, height=height, width=width, tokens=length))
    columns = ["axis", "height", "width", "tokens", "part", "macs"]
    return pd.concat(parts, ignore_index=True)[columns]


def crossover(table: pd.DataFrame, convention: Convention = "full") -> float | None:
    """From how many tokens on cross-attention costs more than everything else together.

    Both are straight lines over the number of tokens, so two lengths settle it, wherever they are.

    Args:
        table: of :func:`scaling`.
        convention: which MACs are compared.

    Returns:
        The number of tokens, 1 or more; ``None`` if it never does.

    Raises:
        ValueError: the table has fewer than two lengths.
    """
    chosen = table[(table["axis"] == "tokens") & counted(table["part"], convention)]
    of_cross = chosen["part"].str.startswith("cross ")
    cross = chosen[of_cross].groupby("tokens")["macs"].sum()
    excess = cross.subtract(chosen[~of_cross].groupby("tokens")["macs"].sum(), fill_value=0)
    if len(excess) < 2:
        raise ValueError("the crossover takes two lengths of the text: give scaling() more tokens")
    (first, last), (low, high) = excess.index[[0, -1]], excess.iloc[[0, -1]]
    slope = (high - low) / (last - first)
    if slope <= 0:
        return 1.0 if slope == 0 <= low else None
    return max(1.0, float(first - low / slope))
