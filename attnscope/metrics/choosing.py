"""Choosing what images are judged by, checked before any image is made."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnscope import documents
from attnscope.errors import InputError
from attnscope.files import write_whole
from attnscope.metrics.networks import FEATURES, NETWORKS
from attnscope.models.names import READER
from attnscope.runs.holding import hold
from attnscope.runs.progress import SILENT, Progress

if TYPE_CHECKING:
    from attnscope.metrics.features import Extractor
    from attnscope.metrics.judging import Judges, Reference
    from attnscope.metrics.questions.asking import Asking
    from attnscope.metrics.questions.base import Questionnaire
    from attnscope.runs.prompts import Prompt

_FEWEST = 4
_VERSION = 2
"""Of how measures are taken: a run that another one judged is judged again."""
_READER = "reader"
"""As ``vqa``: the embedded world's."""
JUDGED = "judged.json"
"""Says in a run directory by which measures its images were judged."""


@dataclass(frozen=True)
class Quality:
    """By what the images of a run are judged, and whether they were.

    Args:
        features: one of :data:`attnscope.metrics.networks.FEATURES`.
        features_weights: of the features, where none are installed.
        reference: folder of images, or statistics.
        clip: a CLIP, as hub id or folder.
        lpips: whether LPIPS is wanted.
        device: a torch device.
        world: folder of the embedded world's model, where its reader is; ``None`` for other worlds.
        count: how many prompts there are.
        offline: whether to use only what is on this machine.
        prompts: digest of the prompts, where the settings of the run do not hold it.
        questions: about the images of the prompts.
        vqa: who answers them: ``reader``, or a model as hub id or folder.
        allow_pickle: whether its weights may be other than safetensors.

    Raises:
        InputError: they contradict each other, or files are missing.
    """

    features: str
    features_weights: Path | None
    reference: Path | None
    clip: str | None
    lpips: bool
    device: str
    world: Path | None
    count: int
    offline: bool = False
    prompts: str = ""
    questions: Questionnaire | None = None
    vqa: str | None = None
    allow_pickle: bool = False

    def __post_init__(self) -> None:
        self._check_questions()
        if self.features not in FEATURES:
            allowed = ", ".join(FEATURES)
            raise InputError(f"no such `features`: {self.features!r} (choose {allowed})")
        if self.chosen is None:
            for name in ("reference", "features_weights"):
                if getattr(self, name) is not None:
                    raise InputError(f"`{name}` is for FID and KID, which are not asked for")
        elif self.reference is None and self.world is None:
            raise InputError(
                f"`features={self.features!r}` needs something to compare with: give `reference=FOLDER`"
            )
        elif self.count < _FEWEST:
            raise InputError(
                f"FID and KID need {_FEWEST} captions or more, not {self.count}: raise the `limit`, or "
                "choose `features='none'`"
            )

    def _check_questions(self) -> None:
        if self.questions is not None and self.vqa is None:
            raise InputError(
                "`questions` needs somebody who answers: give `vqa`, 'reader' on the embedded world, or a model"
            )
        if self.vqa is not None and self.questions is None:
            raise InputError("`vqa` answers questions: give `questions`, 'scenes' or a file")
        if self.vqa == _READER and self.world is None:
            raise InputError(
                "`vqa='reader'` reads images of the embedded world alone, 64 x 64 and of its own captions: "
                "give a model, such as Salesforce/blip-vqa-base"
            )

    @property
    def chosen(self) -> str | None:
        """The features that ``auto`` comes to; ``None`` for none."""
        if self.features == "auto":
            if self.reference is not None:
                return "efficientnet-lite0"
            return "reader" if self.world is not None and self.count >= _FEWEST else None
        return None if self.features == "none" else self.features

    @cached_property
    def about(self) -> dict[str, Any]:
        """What decides the measures, in plain values, with digests of the files they rest on."""
        rendered = None if self.chosen is None or self.reference else self._rendered
        reader = None if self.world is None else _digest(self.world / READER)
        return {
            "version": _VERSION,
            "features": self.chosen,
            "weights": None if self.features_weights is None else _digest(self.features_weights),
            "reference": None if self.reference is None else _digest(self.reference),
            "rendered": rendered,
            "reader": reader,
            "clip": self.clip,
            "clip_files": _digest(Path(self.clip))
            if self.clip and Path(self.clip).is_dir()
            else None,
            "lpips": self.lpips,
            **({"prompts": self.prompts} if self.prompts else {}),
            **self._asked,
        }

    @property
    def asked(self) -> dict[str, Any]:
        """What :meth:`again` asks for again, in plain values; not the machine, nor where the world is.

        Raises:
            InputError: questions are to be asked, which do not go into a file.
        """
        if self.questions is not None:
            raise InputError(
                "questions about images are not asked of shards: leave them out there, and give the same "
                "command without `shard`, on the run that is merged, to ask them"
            )
        names = ("features", "features_weights", "reference", "clip", "lpips", "prompts")
        found: dict[str, Any] = documents.plain({name: getattr(self, name) for name in names})
        return found | {"world": self.world is not None}

    @classmethod
    def again(
        cls,
        asked: Mapping[str, Any],
        models: Sequence[str],
        prompts: Sequence[Prompt],
        *,
        device: str,
        offline: bool = False,
    ) -> Quality:
        """What images are judged by, as a run says that it was asked for.

        Args:
            asked: of :attr:`asked`.
            models: of the run.
            prompts: of the run.
            device: a torch device.
            offline: whether to use only what is on this machine.
        """
        world = embedded_world(models, prompts, ()) if asked["world"] else None
        weights, reference = (
            None if asked[name] is None else Path(asked[name])
            for name in ("features_weights", "reference")
        )
        return cls(
            asked["features"], weights, reference, asked["clip"], asked["lpips"], device, world,
            len(prompts), offline, asked["prompts"],
        )  # fmt: skip

    @property
    def _asked(self) -> dict[str, Any]:
        """What decides the answers, if questions are asked."""
        if self.questions is None or self.vqa is None:
            return {}
        own = self.vqa != _READER and Path(self.vqa).is_dir()
        about = {"questions": self.questions.digest, "vqa": self.vqa}
        return about | ({"vqa_files": _digest(Path(self.vqa))} if own else {})

    def is_of(self, path: Path) -> bool:
        """Whether the images of a run were judged by these very measures."""
        file = path / JUDGED
        return file.is_file() and file.read_text("utf-8") == self._text

    @contextlib.contextmanager
    def judging(self, path: Path) -> Iterator[None]:
        """While a run is judged, nothing says so; afterwards :meth:`is_of` holds.

        Raises:
            InputError: another process writes into it.
        """
        hold(path)
        file = path / JUDGED
        file.unlink(missing_ok=True)
        yield
        write_whole(file, lambda partial: partial.write_text(self._text, "utf-8"))

    @property
    def _text(self) -> str:
        return documents.text(self.about) + "\n"

    @property
    def _rendered(self) -> int:
        assert self.chosen is not None
        return NETWORKS[self.chosen].rendered(self.count)

    def judges(self) -> Judges:
        """Load what measures, and take the features of the references.

        Raises:
            InputError: weights are missing, or references are unreadable, too few or of other
                features.
        """
        from attnscope.metrics import clip_score, lpips
        from attnscope.metrics.features import Extractor
        from attnscope.metrics.judging import Judges

        if self.clip is not None:
            clip_score([], [], self.clip, offline=self.offline)
        if self.lpips:
            lpips([], [])
        extractor = reference = None
        if self.chosen is not None:
            extractor = Extractor(self.chosen, self.features_weights)
            reference = self._reference(extractor)
        return Judges(
            extractor, reference, self.world, self.clip, self.lpips, self.device, self.offline,
            self._asking(),
        )  # fmt: skip

    def _asking(self) -> Asking | None:
        from attnscope.metrics.questions.asking import Asking
        from attnscope.metrics.questions.vqa import models
        from attnscope.metrics.questions.vqa.base import Answerer
        from attnscope.metrics.questions.vqa.reader import WorldReader

        if self.questions is None or self.vqa is None:
            return None
        answerer: Answerer
        if self.vqa == _READER:
            assert self.world is not None
            answerer = WorldReader(self.world)
        else:
            answerer = models.of_name(
                self.vqa, device=self.device, offline=self.offline, allow_pickle=self.allow_pickle
            )
        ask = self.questions.benchmark.ask
        answerer.check(ask(q) for item in self.questions.items.values() for q in item.questions)
        known = self._asked | {"reader": self.about["reader"]}
        return Asking(
            self.questions,
            answerer,
            hashlib.sha256(documents.text(known).encode()).hexdigest()[:12],
        )

    def _reference(self, extractor: Extractor) -> Reference:
        from attnscope.metrics.feature_sets import Provenance, Statistics, comparable
        from attnscope.metrics.features import image_paths
        from attnscope.metrics.judging import Reference, scenes_reference

        if self.reference is None:
            return scenes_reference(extractor, self._rendered, self.count, device=self.device)
        if self.reference.suffix == ".npz":
            known = Statistics.load(self.reference)
            comparable(
                [known.provenance, Provenance(extractor.name, extractor.protocol, self.count)]
            )
            return Reference(known, self.reference.name)
        paths = image_paths(self.reference)
        if len(paths) < _FEWEST:
            raise InputError(
                f"images folder {str(self.reference)!r} holds {len(paths)} images: "
                f"{_FEWEST} or more are needed"
            )
        return Reference(extractor.extract(paths, device=self.device), self.reference.name)


def embedded_world(
    models: Sequence[str],
    prompts: Sequence[Prompt],
    sides: Iterable[int | None],
    progress: Progress = SILENT,
) -> Path | None:
    """Where the reader is, if all models are of the embedded world and all captions tell scenes.

    Says so where only a caption or the size of the images stands in its way.

    Args:
        models: short names, hub ids or folders.
        prompts: the captions.
        sides: heights and widths of the images; ``None`` is the model's own.
        progress: told what stands in the way.
    """
    from attnscope.models.names import describe, reader_folder
    from attnscope.shapes.scenes import RESOLUTION, scene_of

    readers = [reader_folder(describe(model)) for model in models]
    if not all(readers):
        return None
    if not set(sides) <= {None, RESOLUTION}:
        progress.say(
            f"note: the reader reads images of {RESOLUTION} x {RESOLUTION} pixels only: alignment is "
            "left out"
        )
        return None
    for prompt in prompts:
        try:
            scene_of(prompt.text)
        except ValueError:
            progress.say(
                f"note: alignment is left out, since {prompt.text!r} is no caption of the embedded "
                "world"
            )
            return None
    return readers[0]


def _digest(path: Path) -> str:
    """Of a file its content; of a folder names, sizes and times of its files.

    Raises:
        InputError: there is nothing there.
    """
    total = hashlib.sha256()
    if path.is_dir():
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            about = file.stat()
            total.update(f"{file.relative_to(path)} {about.st_size} {about.st_mtime_ns}\n".encode())
    elif path.is_file():
        total.update(path.read_bytes())
    else:
        raise InputError(f"{str(path)!r} does not exist")
    return total.hexdigest()[:12]
