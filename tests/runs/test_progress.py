"""What a run tells while it goes on, and what of that its directory keeps."""

from dataclasses import dataclass

import pandas as pd
import pytest
from hearing import Hearing

from attnscope.analyses.convergence.measure import ConvergenceSettings
from attnscope.analyses.convergence.run import carry_out
from attnscope.models.chosen import ChosenModel
from attnscope.runs.folder import Run
from attnscope.runs.progress import Kept
from attnscope.runs.prompts import Prompt
from attnscope.runs.sampling import settled

TABLE = pd.DataFrame({"prompt_id": [1]})


@dataclass(frozen=True)
class Nothing:
    """Settings of a run that has none."""


@pytest.fixture
def kept(tmp_path):
    def opening(size):
        return Run.open(tmp_path / "run", "convergence", Nothing(), batch_size=size)

    return Kept(Hearing(), tmp_path / "run", opening, 8, "records")


def test_everything_is_handed_on(kept):
    told = kept._to
    with kept.stretch("prompts", 3):
        kept.advance()
        kept.advance(2)
    kept.say("a line")
    kept.failed("ToMe", "no such layer")
    kept.halved(4)
    kept.part(TABLE)
    assert told.stretches == [("prompts", 3)]
    assert told.counts == [1, 2]
    assert told.lines == ["a line", "ToMe: no such layer"]
    assert told.halvings == [4]
    assert told.parts == [TABLE]


def test_nothing_is_on_disk_before_the_first_part_which_notes_the_batch_that_fits(kept, tmp_path):
    kept.halved(4)
    assert not (tmp_path / "run").exists()
    kept.part(TABLE)
    run = Run(tmp_path / "run")
    assert run.about["machine"]["batch_size"] == 4
    (part,) = run.read_parts("records")
    pd.testing.assert_frame_equal(part, TABLE)
    kept.halved(2)
    assert [change["machine"] for change in Run(run.path).about["later"]] == [{"batch_size": 2}]


def test_a_run_can_be_carried_out_from_python_and_says_nothing_unasked(folder, tmp_path, capsys):
    chosen = ChosenModel(
        str(folder), scheduler=None, device="cpu", dtype="auto", offline=True, allow_pickle=False
    )
    asked = {"steps": 3, "guidance": 5.0, "seed": 0, "height": 16, "width": None}
    settings = ConvergenceSettings(
        **settled(chosen, asked), captions="two", prompts_digest="", limit=2,
        kinds=("cross", "self"), sites=None,
    )  # fmt: skip
    prompts = [Prompt(0, "a circle"), Prompt(1, "a star")]
    given = [prompt.text for prompt in prompts]
    told = Hearing()
    run = carry_out(
        tmp_path / "heard", chosen, settings, prompts, given, batch_size=1, progress=told
    )
    assert told.stretches == [(f"{folder}: prompts", 2)]
    assert (told.counts, len(told.parts), told.lines) == ([1, 1], 2, [])
    assert set(run.read_table("records")["prompt_id"]) == {0, 1}
    capsys.readouterr()
    silent = carry_out(tmp_path / "unheard", chosen, settings, prompts, given, batch_size=1)
    assert capsys.readouterr() == ("", "")
    pd.testing.assert_frame_equal(silent.read_table("records"), run.read_table("records"))
    again = carry_out(run.path, chosen, settings, prompts, given, progress=told)
    assert len(told.stretches) == 1
    assert again.path == run.path
