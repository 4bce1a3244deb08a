"""What modules store may take more memory than there is: batches are halved, and nothing is lost."""

import pandas as pd
import pytest
import torch
from test_tuning import STEPS, Model, groups_in, levels_in, settings

from attnscope.analyses.tuning import schedules, search
from attnscope.analyses.tuning.calibration import Calibration
from attnscope.analyses.tuning.candidates import Candidates
from attnscope.analyses.tuning.worth import ByMacs
from attnscope.cost.counts import Counts, PartCost
from attnscope.errors import InputError
from attnscope.hooks.site import SiteHook
from attnscope.runs.batches import in_batches
from attnscope.runs.progress import Progress
from attnscope.runs.prompts import Prompt

TEXTS = ["a circle", "a large blue star", "a small red square", "a green ring"]
PROMPTS = [Prompt(number, text) for number, text in enumerate(TEXTS)]


class Halved(Progress):
    """Remembers the sizes of batches."""

    def __init__(self):
        self.sizes = []

    def halved(self, size):
        self.sizes.append(size)


@pytest.fixture
def little_memory(monkeypatch):
    """Modules that store what more than so many images make run out of memory; plain runs do not."""
    store, most = SiteHook.store, [99]

    def limited(self, own, given, moment, caller, *, copy):
        if moment.batch > 2 * most[0]:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return store(self, own, given, moment, caller, copy=copy)

    monkeypatch.setattr(SiteHook, "store", limited)
    return most


def calibrated(pipe, cut, progress):
    return Calibration(Model(pipe), settings(), PROMPTS, TEXTS, cut, progress=progress)


def test_calibration_halves_its_batches_and_measures_what_the_smaller_ones_do(sd, little_memory):
    told = Halved()
    found, small = calibrated(sd, 4, told), calibrated(sd, 2, Halved())
    steps = found.look()
    parts = [part for part in steps.parts(groups_in(sd)) if part.what in ("final", "module")][::7]
    first = found.measured(parts[:1])
    assert not told.sizes
    little_memory[0] = 2
    table = found.measured(parts, done=[first])
    assert told.sizes == [2]
    assert table.head(len(first)).equals(first)  # what was measured before stays
    rest = table.iloc[len(first) :].reset_index(drop=True)
    expected = small.measured(parts[1:])
    pd.testing.assert_frame_equal(rest, expected)
    assert steps.guided


def counts_of(groups):
    around = [
        PartCost(name, group.kind, group.block, place, {"convolution": 10}, 1)
        for place, (group, name) in enumerate((g, n) for g in groups for n in g.names)
    ]
    return Counts((), {"convolution": 100 * len(around)}, 0, {}, tuple(around))


def test_plans_are_measured_in_smaller_batches_where_what_they_store_does_not_fit(
    sd, little_memory
):
    groups, levels = groups_in(sd), levels_in(sd)
    told = Halved()

    def candidates(batch_size, progress):
        damages = search.Damages(
            pd.DataFrame([("final", "", ".", 1, 0.0, n, 0, 1e-3) for n in (0, 1)],
                         columns=["what", "group", "letter", "step", "log_snr", "length", "prompt_id", "damage"]),
            levels,
        )  # fmt: skip
        return Candidates(
            Model(sd), settings(), PROMPTS, TEXTS, groups, levels, ByMacs(counts_of(groups), groups, True),
            True, batch_size, damages, progress=progress,
        )  # fmt: skip

    found, small = candidates(4, told), candidates(1, Halved())
    one, other = (schedules.Schedule(letters, "b" * STEPS) for letters in ("##.#..", "#.#..."))
    before = dict(found.measure(one))
    assert not told.sizes
    little_memory[0] = 1
    found.measure(other)
    assert told.sizes == [2, 1]
    assert found.measure(one) == before
    assert found.measure(other) == small.measure(other)


def test_one_image_that_does_not_fit_is_said_in_one_line(sd, little_memory):
    found = calibrated(sd, 1, Halved())
    parts = list(found.look().parts(groups_in(sd)))[:1]
    little_memory[0] = 0
    with pytest.raises(InputError, match="out of memory with one image"):
        found.measured(parts)


def test_what_is_no_lack_of_memory_is_not_hidden():
    def work(items):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        list(in_batches([1, 2], 2, work))
    assert list(in_batches([1, 2, 3], 2, sum)) == [([1, 2], 3), ([3], 3)]
