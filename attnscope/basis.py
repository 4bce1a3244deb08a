"""What a distance between sets of images rests on, and which distances may be compared.

A FID without the name of its features, the resizing and the number of images means nothing; two
that differ in one of them must not stand side by side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from attnscope.errors import InputError


@dataclass(frozen=True)
class Basis:
    """What a set's features are.

    Args:
        name: of the feature extractor.
        protocol: how images were resized before it.
        n: how many images.
    """

    name: str
    protocol: str
    n: int

    def __str__(self) -> str:
        return f"{self.name}, {self.protocol}, n = {self.n:,}"


def comparable(bases: Iterable[Basis], *, counts: bool = False) -> None:
    """Refuse to compare what rests on different features, resizing or, for FID, counts.

    Args:
        bases: of the sets whose features are compared, or of the rows of a table.
        counts: whether the number of images matters: it does where values of FID are compared,
            since FID is biased by it; KID is not.

    Raises:
        InputError: two of them differ.
    """
    asked = ["name", "protocol", *(["n"] if counts else [])]
    words = {"name": "features", "protocol": "resizing", "n": "numbers of images"}
    found = list(bases)
    for part in asked:
        values = list(dict.fromkeys(str(getattr(basis, part)) for basis in found))
        if len(values) > 1:
            raise InputError(
                f"different {words[part]} cannot be compared: {' and '.join(values)}; "
                "measure both alike"
            )
