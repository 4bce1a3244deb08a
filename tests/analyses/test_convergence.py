import converging
import numpy as np
import pandas as pd
import pytest
import torch
import toys
from hearing import Hearing

from attnscope.analyses.convergence.measure import (
    ConvergenceSettings,
    converged_steps,
    unchanging,
)
from attnscope.runs.prompts import Prompt, image_seed

CAPTIONS = [
    "a small red circle on a white background",
    "a large blue star on a black background",
    "a large green heart on a gray background",
]


def settings(**changes):
    return ConvergenceSettings(
        **{
            "model": "toy", "weights": None, "captions": "toy", "prompts_digest": "", "limit": 3, "steps": 4,
            "scheduler": None, "guidance": 5.0, "seed": 0, "kinds": ("cross", "self"),
            "sites": None, "height": 32, "width": 32, "dtype": "float32", **changes,
        }
    )  # fmt: skip


def run(pipe, batch_size=2, **options):
    prompts = [Prompt(10 + index, text) for index, text in enumerate(CAPTIONS)]
    return converging.curves(pipe, settings(), prompts, CAPTIONS, batch_size=batch_size, **options)


def test_rows_carry_prompt_image_and_seed(sd):
    table = run(sd)
    assert set(table["prompt_id"]) == {10, 11, 12}
    assert set(table["image"]) == {0}
    seeds = table.drop_duplicates("prompt_id").set_index("prompt_id")["seed"]
    assert all(seeds[number] == image_seed(0, number) for number in (10, 11, 12))
    assert len(table) == 3 * 2 * 3 * 8
    assert {"run", "sample"}.isdisjoint(table.columns)


def test_the_batch_size_changes_nothing(sd):
    keys = ["prompt_id", "branch", "step", "site"]
    one, three = (run(sd, size).sort_values(keys).reset_index(drop=True) for size in (1, 3))
    assert one[keys].astype(str).equals(three[keys].astype(str))
    np.testing.assert_allclose(one["l2"], three["l2"], rtol=1e-3, atol=1e-6)


def test_out_of_memory_halves_the_batch_and_goes_on(sd):
    """Batches of more than one fail at their second step, as a full GPU would."""
    sizes, told = [], Hearing()

    def refuse(pipe, step, timestep, tensors):
        sizes.append(len(tensors["latents"]))
        if len(tensors["latents"]) > 1 and step == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return tensors

    reference = run(sd, 1)
    table = run(sd, 3, progress=told, callback_on_step_end=refuse)
    assert told.halvings == [1]
    pd.testing.assert_frame_equal(table, reference)


def test_out_of_memory_with_one_image_says_what_helps(sd):
    def refuse(pipe, step, timestep, tensors):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    with pytest.raises(ValueError, match="choose `dtype='float16'`"):
        run(sd, 2, callback_on_step_end=refuse)


def curves(**by_site):
    rows = [
        (prompt, site, "cross", "mid_block", step + 1, value)
        for site, values in by_site.items()
        for prompt in range(2)
        for step, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["prompt_id", "site", "kind", "block", "step", "relative"])


def test_a_site_has_converged_at_its_first_step_below_the_threshold():
    table = converged_steps(
        curves(falls=[1, 0.5, 0.04, 0.01], never=[1, 1, 1, 1], returns=[1, 0.01, 0.5, 0.01])
    ).set_index("site")
    assert table["step"].fillna(0).to_dict() == {"falls": 3, "never": 0, "returns": 2}
    assert table["stays"].dropna().to_dict() == {"falls": True, "returns": False}
    assert converged_steps(curves(falls=[1, 0.5, 0.04]), 0.6)["step"].tolist() == [2]


def test_attention_that_never_moves_is_named():
    table = pd.DataFrame(
        [
            ("cross", "uncond", 0.0),
            ("cross", "cond", 0.1),
            ("self", "cond", 0.0),
            ("self", "cond", 1),
        ],
        columns=["kind", "branch", "relative"],
    )
    assert unchanging(table) == [("cross", "uncond")]


def test_the_unconditional_text_of_sdxl_is_zeros_and_moves_nothing(tokenizer_folder):
    table = run(toys.stable_diffusion_xl(tokenizer_folder))
    assert unchanging(table) == [("cross", "uncond")]
