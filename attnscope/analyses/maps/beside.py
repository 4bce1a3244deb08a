"""What is watched beside the words: where points of the image look, and what sites return.

Each is asked for by a setting, has a table of its own, and a file a prompt in a folder of that name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from attnscope.analyses.checks import check_sites
from attnscope.observers import components, named_maps
from attnscope.tables import concatenate

if TYPE_CHECKING:
    from attnscope.analyses.maps.run import MapsSettings
    from attnscope.hooks.observer import Observer
    from attnscope.hooks.trace import Trace
    from attnscope.runs.prompts import Prompt


class Beside(ABC):
    """One of them, for a batch.

    Args:
        settings: of the run.
        steps: that it has.
    """

    table: ClassVar[str]
    """Its name, and that of the folder of its files."""
    keys: ClassVar[tuple[str, ...]]
    """Columns that tell rows of a prompt apart."""
    observer: Observer

    @abstractmethod
    def __init__(self, settings: MapsSettings, steps: int) -> None: ...

    @classmethod
    @abstractmethod
    def is_asked(cls, settings: MapsSettings) -> bool:
        """Whether the settings ask for it."""

    @classmethod
    @abstractmethod
    def check(cls, pipe: Any, settings: MapsSettings) -> None:
        """Refuse what the model does not have.

        Raises:
            InputError: it has no such sites.
        """

    @abstractmethod
    def see(self, trace: Trace) -> None:
        """Take what was watched from a trace that is over."""

    @abstractmethod
    def packed(self, sample: int, **about: Any) -> tuple[bytes, pd.DataFrame] | None:
        """The file of a sample, and what is in it; ``None`` if there is nothing.

        Args:
            sample: of the batch.
            about: what stands in the file as well.
        """

    def left(
        self, prompts: Sequence[Prompt], levels: Mapping[int, float]
    ) -> tuple[dict[str, bytes], pd.DataFrame | None]:
        """The files of a batch by their place in the run directory, and the rows of the table, if any.

        Args:
            prompts: of the batch.
            levels: log-SNR by step.
        """
        files, made = {}, []
        for sample, prompt in enumerate(prompts):
            name = f"{self.table}/{prompt.prompt_id:05d}.safetensors"
            found = self.packed(sample, prompt=prompt.text)
            if found is None:
                continue
            files[name], rows = found
            rows.insert(0, "prompt_id", prompt.prompt_id)
            if "step" in rows:
                place = list(rows).index("timestep") + 1
                rows.insert(place, "log_snr", rows["step"].map(levels).astype(float))
            made.append(rows.assign(path=name))
        return files, concatenate(made) if made else None


class Points(Beside):
    """Where points of the image look."""

    table = "points"
    keys = ("prompt_id", "step", "site", "head", "point")

    def __init__(self, settings: MapsSettings, steps: int) -> None:
        from attnscope.observers.points import PointAttention

        self.observer: PointAttention = PointAttention(
            settings.points or (),
            steps=settings.looked_at,
            each="head" if settings.heads else "model",
            heads=settings.heads,
            sites=settings.sites,
        )

    @classmethod
    def is_asked(cls, settings: MapsSettings) -> bool:
        """Whether there are points."""
        return settings.points is not None

    @classmethod
    def check(cls, pipe: Any, settings: MapsSettings) -> None:
        """Refuse a model in which the image does not look at itself."""
        from attnscope.observers.points import IMAGE_KINDS

        check_sites(pipe, IMAGE_KINDS, settings.sites)

    def see(self, trace: Trace) -> None:
        """Take maps and numbers."""
        self._rows = trace.records(self.observer)
        self._maps = self.observer.maps()

    def packed(self, sample: int, **about: Any) -> tuple[bytes, pd.DataFrame] | None:
        """The maps of a sample."""
        rows = self._rows[self._rows["sample"] == sample].drop(columns=["run", "sample"])
        own = self._maps.of(sample)
        stamps = dict(zip(rows["step"], rows["timestep"], strict=True))
        timesteps = [float(stamps.get(step, np.nan)) for step in own.steps]
        return named_maps.packed(own, timesteps=timesteps, **about), rows


class Features(Beside):
    """Principal components of what sites return."""

    table = "features"
    keys = ("prompt_id", "site", "component")

    def __init__(self, settings: MapsSettings, steps: int) -> None:
        from attnscope.observers.features import FeatureMaps

        assert settings.features is not None, "they are asked for"
        self.observer = FeatureMaps(settings.features, settings.looked_at or range(steps))

    @classmethod
    def is_asked(cls, settings: MapsSettings) -> bool:
        """Whether sites are named."""
        return settings.features is not None

    @classmethod
    def check(cls, pipe: Any, settings: MapsSettings) -> None:
        """Refuse sites that the model does not have."""
        from attnscope.kinds import KINDS

        check_sites(pipe, KINDS, settings.features)

    def see(self, trace: Trace) -> None:
        """Take the outputs of the branch that reads the prompt."""
        from attnscope.sites.denoiser import Denoiser

        rows = trace.records(self.observer)
        self._rows = rows[rows["branch"] == "cond"]
        self._layout = trace.runs[-1].layout
        self._text_leads = Denoiser.of(trace.pipe).family.text_leads

    def packed(self, sample: int, **about: Any) -> tuple[bytes, pd.DataFrame] | None:
        """The components of a sample, from all steps together."""
        own = self._rows[self._rows["sample"] == sample]
        if own.empty:
            return None
        found = list(self._components(own))
        stamps = own.drop_duplicates("step").set_index("step")["timestep"]
        timesteps = [float(stamps[step]) for step in found[0].steps]
        sites = own.drop_duplicates("site").set_index("site")
        rows = pd.DataFrame(
            [
                (one.site, sites["kind"][one.site], sites["block"][one.site], place, share)
                for one in found
                for place, share in enumerate(one.explained)
            ],
            columns=["site", "kind", "block", "component", "explained"],
        )
        return components.packed(found, timesteps=timesteps, **about), rows

    def _components(self, rows: pd.DataFrame) -> Iterator[components.Components]:
        for site, own in rows.groupby("site", observed=True, sort=False):
            outputs = {
                int(step): components.laid_out(
                    output, self._layout, str(site), text_leads=self._text_leads
                )
                for step, output in zip(own["step"], own["output"], strict=True)
            }
            yield components.components_of(str(site), outputs)


BESIDE: tuple[type[Beside], ...] = (Points, Features)


def asked_for(settings: MapsSettings) -> tuple[type[Beside], ...]:
    """What the settings of a run ask for."""
    return tuple(kind for kind in BESIDE if kind.is_asked(settings))
