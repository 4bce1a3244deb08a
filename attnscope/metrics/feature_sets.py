"""What a distance between sets of images rests on, and which distances may be compared.

A FID without the name of its features, the resizing and the number of images means nothing; two
that differ in one of them must not stand side by side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from attnscope.errors import InputError
from attnscope.files import write_whole


@dataclass(frozen=True)
class FeatureSet:
    """Features of a set of images.

    Args:
        values: float32 ``[n, width]``.
        name: of the extractor.
        protocol: how images were resized before it.
    """

    values: NDArray[np.float32]
    name: str
    protocol: str

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, indices: ArrayLike) -> FeatureSet:
        """The features of some of the images."""
        return FeatureSet(self.values[np.asarray(indices)], self.name, self.protocol)

    @property
    def provenance(self) -> Provenance:
        """What they are, for :func:`attnscope.metrics.feature_sets.comparable`."""
        return Provenance(self.name, self.protocol, len(self))


@dataclass(frozen=True)
class Statistics:
    """Mean and covariance of a set's features: all that FID needs of a reference.

    Args:
        mean: float64 ``[width]``.
        covariance: float64 ``[width, width]``, divided by n - 1.
        n: how many images.
        name: of the extractor.
        protocol: how images were resized before it.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    n: int
    name: str
    protocol: str

    @classmethod
    def of(cls, features: FeatureSet) -> Statistics:
        """The statistics of a set.

        Raises:
            InputError: it holds fewer than two images.
        """
        if len(features) < 2:
            raise InputError(f"a covariance needs two images or more, not {len(features)}")
        values = features.values.astype(np.float64)
        covariance = np.atleast_2d(np.cov(values, rowvar=False))
        return cls(values.mean(0), covariance, len(features), features.name, features.protocol)

    @property
    def provenance(self) -> Provenance:
        """What they are of, for :func:`attnscope.metrics.feature_sets.comparable`."""
        return Provenance(self.name, self.protocol, self.n)

    def save(self, path: Path) -> None:
        """Write them as ``.npz``: the usual ``mu`` and ``sigma``, with ``n``, ``name``, ``protocol``.

        Raises:
            InputError: the path has another ending.
        """
        if path.suffix != ".npz":
            raise InputError(f"statistics are saved as .npz, not {path.name!r}")
        arrays: dict[str, Any] = {
            "mu": self.mean,
            "sigma": self.covariance,
            "n": self.n,
            "name": self.name,
            "protocol": self.protocol,
        }
        write_whole(path, lambda partial: np.savez(partial, **arrays))

    @classmethod
    def load(cls, path: Path) -> Statistics:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: the file is missing or no ``.npz``, or does not say what it holds.
        """
        try:
            with path.open("rb") as stream, np.load(stream) as file:
                missing = {"mu", "sigma", "n", "name", "protocol"} - set(file)
                if missing:
                    raise InputError(
                        f"statistics {str(path)!r} do not say what they are of (no "
                        f"{', '.join(sorted(missing))}): make them anew from the reference images"
                    )
                return cls(
                    file["mu"],
                    file["sigma"],
                    int(file["n"]),
                    str(file["name"]),
                    str(file["protocol"]),
                )
        except FileNotFoundError as error:
            raise InputError(f"statistics {str(path)!r} do not exist") from error
        except InputError:
            raise
        except (OSError, ValueError, TypeError, EOFError, BadZipFile) as error:
            raise InputError(f"statistics {str(path)!r} cannot be read: no .npz file") from error


@dataclass(frozen=True)
class Provenance:
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


def comparable(known: Iterable[Provenance], *, counts: bool = False) -> None:
    """Refuse to compare what rests on different features, resizing or, for FID, counts.

    Args:
        known: of the sets whose features are compared, or of the rows of a table.
        counts: whether the number of images matters: it does where values of FID are compared,
            since FID is biased by it; KID is not.

    Raises:
        InputError: two of them differ.
    """
    asked = ["name", "protocol", *(["n"] if counts else [])]
    words = {"name": "features", "protocol": "resizing", "n": "numbers of images"}
    found = list(known)
    for part in asked:
        values = list(dict.fromkeys(str(getattr(each, part)) for each in found))
        if len(values) > 1:
            raise InputError(
                f"different {words[part]} cannot be compared: {' and '.join(values)}; "
                "measure both alike"
            )
