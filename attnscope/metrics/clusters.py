"""Which images are of one prompt: what is resampled together.

An image is told from others by its seed, where a table has several, and its ``prompt_id``; the frames
of a video are one image. Its prompt is its text, where the table has that: the same words under two
numbers, with another seed or in another run, are one prompt.
"""

from __future__ import annotations

import pandas as pd


def image_columns(table: pd.DataFrame) -> list[str]:
    """The columns that tell images apart."""
    return [name for name in ("seed", "prompt_id") if name in table]


def by_image(table: pd.DataFrame, name: str) -> pd.Series[float]:
    """A measure of every image, the frames of a video averaged; in the order of :func:`clusters_of`."""
    values: pd.Series[float] = table.groupby(image_columns(table))[name].mean()
    return values


def clusters_of(table: pd.DataFrame) -> pd.Series[int]:
    """The prompt of every image, numbered from 0 in the order of ``prompt_id``.

    Args:
        table: of one arm: a row per image or frame, with ``prompt_id`` and, if known, ``text`` and
            ``seed``.
    """
    prompts: pd.Series[int] = (
        table.assign(_prompt=prompts_of(table)).groupby(image_columns(table))["_prompt"].first()
    )
    return prompts


def prompts_of(table: pd.DataFrame) -> pd.Series[int]:
    """The same, row by row."""
    label = table["text"].str.strip() if "text" in table else table["prompt_id"]
    ordered = label.loc[table.sort_values(image_columns(table), kind="stable").index]
    numbers = {value: number for number, value in enumerate(ordered.drop_duplicates())}
    return label.map(numbers).astype(int)
