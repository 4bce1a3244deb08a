"""The recipes at toy size: what they leave, and that nothing is lost by a stop or a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from attnscope.errors import InputError
from attnscope.models.names import SHAPES_FOLDER
from attnscope.shapes import architecture, fitting, reader, t5
from attnscope.shapes.captions import Captions
from attnscope.shapes.denoising import Emphasis, UNetDenoising
from attnscope.shapes.exporting import Start, write_state
from attnscope.shapes.fitting import Objective, Schedule, Worker, _optimizers
from attnscope.shapes.objectives import to_float
from attnscope.shapes.recipes import choose
from attnscope.shapes.recipes.binding import BindingRecipe, Imitating, PlacedDenoising
from attnscope.shapes.recipes.dit import TransformerDenoising, TransformerRecipe, transformer
from attnscope.shapes.recipes.lcm import STRENGTH_WIDTH, ConsistencyRecipe
from attnscope.shapes.recipes.unet import UNetRecipe
from attnscope.shapes.sampling import Sampler, in_order
from attnscope.shapes.scenes import Scene, Thing, generate, render
from attnscope.shapes.train import train

LEFT = Thing("large", "striped", "red", "circle")
RIGHT = Thing("small", "plain", "blue", "star")


def short(steps, every=0, rate=1e-4):
    return Schedule(steps=steps, batch=4, learning_rate=rate, warmup=2, evaluate_every=every)


def data(tokenizer, scenes):
    latents = np.random.default_rng(0).normal(size=(len(scenes), 4, 16, 16)).astype(np.float16)
    return latents, Captions.of(scenes, tokenizer), tokenizer


SETTINGS = {"noise_shift": 4.0, "dropout": 0.5, "emphasis": Emphasis()}


class Tables(Objective):
    def __init__(self):
        super().__init__(1)
        self.shared = nn.Embedding(3, 2)
        self.scale_shift_table = nn.Parameter(torch.zeros(6, 4))
        self.linear = nn.Linear(2, 2)


def test_muon_takes_matrices_and_leaves_tables_alone():
    tables = Tables()
    others, muon = _optimizers(tables, 1e-3)
    assert [p is tables.linear.weight for p in muon.param_groups[0]["params"]] == [True]
    assert len(others.param_groups[0]["params"]) == 3


def test_order_is_read_by_the_better_of_two_assignments():
    told = Scene((LEFT, RIGHT), "left of", "gray")
    exchanged = Scene((RIGHT, LEFT), "left of", "gray")
    one_wrong = Scene((Thing("large", "striped", "pink", "circle"), RIGHT), "left of", "gray")
    layout_wrong = Scene((LEFT, RIGHT), "above", "gray")
    read = torch.tensor([reader.encode(s) for s in (told, exchanged, one_wrong, layout_wrong)])
    assert in_order(read, [told] * 4).tolist() == [1, 0, 1, 0]
    # The same scene told the other way round.
    assert in_order(read[:1], [Scene((RIGHT, LEFT), "right of", "gray")]).tolist() == [1]
    alone = Scene((LEFT,), None, "gray")
    assert in_order(torch.zeros(1, read.shape[1], dtype=torch.int64), [alone]).isnan().all()


def test_pairs_and_early_timesteps_are_drawn_as_often_as_asked(tokenizer_folder):
    tokenizer = architecture.tokenizer(tokenizer_folder)
    scenes = list(islice(generate("train"), 60))
    pairs = torch.tensor([scene.relation is not None for scene in scenes])
    for part, expected in ((0.0, pairs.float().mean()), (1.0, 1.0)):
        emphasis = Emphasis(pairs=part, early=part, window=(0.9, 1.0))
        settings = {**SETTINGS, "emphasis": emphasis}
        denoising = UNetDenoising(None, None, *data(tokenizer, scenes), **settings)
        drawn = denoising.draw(4000, torch.Generator().manual_seed(0))
        assert pairs[drawn].float().mean() == pytest.approx(float(expected), abs=0.03)
        timesteps = emphasis.timesteps(4000, torch.Generator().manual_seed(0))
        assert timesteps.min() >= 0
        assert timesteps.max() <= 999
        # A density that grows linearly from half to one and a half leaves 0.145 above 0.9.
        early = (timesteps >= 900).float().mean()
        assert early == pytest.approx(1.0 if part else 0.145, abs=0.02)


@pytest.fixture(scope="module")
def placed(tokenizer_folder):
    torch.manual_seed(0)
    tokenizer = architecture.tokenizer(tokenizer_folder)
    scenes = list(islice(generate("train"), 8))
    encoder = architecture.text_encoder(tokenizer)
    return PlacedDenoising(encoder, None, None, *data(tokenizer, scenes), **SETTINGS)


def test_vectors_move_the_tokens_of_things_and_no_others(placed):
    scenes = [Scene((LEFT, RIGHT), relation, "gray") for relation in ("left of", "right of")]
    made = placed.inputs(scenes)
    places = Captions.of(scenes, placed.tokenizer).places
    difference = (made["prompt_embeds"][0] - made["prompt_embeds"][1]).detach().norm(dim=-1)
    first = torch.arange(24) <= len(LEFT.phrase.split())
    # Up to the relation CLIP says the same of both; only the vectors tell them apart.
    assert (difference[first & (places[0] > 0)] > 0.1).all()
    assert difference[0] == 0
    null = made["negative_prompt_embeds"]
    assert torch.equal(null[0], null[1])


def test_only_the_u_net_and_the_vectors_learn_while_places_are_given(placed):
    loss = placed(torch.arange(8), torch.Generator().manual_seed(0))
    loss.backward()
    assert placed.vectors.grad.abs().sum() > 0
    assert placed.unet.conv_in.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in placed.encoder.parameters())
    placed.zero_grad()


def test_imitating_counts_the_error_as_a_part_of_the_variance(placed):
    """An encoder that says the mean of what is asked everywhere is left with a loss of one."""
    imitating = Imitating(placed, placed.captions, 0.0, placed.tokenizer)
    examples = torch.arange(8)
    with torch.no_grad():
        states = placed.states(placed.captions.tokens, placed.captions.places)

        class Constant(nn.Module):
            def forward(self, tokens):
                said = states.mean().expand(states.shape)
                return type("Said", (), {"last_hidden_state": said})

        imitating.encoder = Constant()
        assert imitating(examples, torch.Generator()) == pytest.approx(1.0, abs=1e-3)


def test_a_teachers_prediction_is_part_of_the_target(placed):
    """A student that says what its teacher says loses nothing where all of the target is its."""
    settings = {**SETTINGS, "teacher": placed, "teaching": 1.0}
    scenes = list(islice(generate("train"), 8))
    student = UNetDenoising(None, None, *data(placed.tokenizer, scenes), **settings)
    student.states = placed.states
    student.unet.load_state_dict(placed.unet.state_dict())
    examples = torch.arange(8)
    with torch.no_grad():
        assert student(examples, torch.Generator().manual_seed(0)) == pytest.approx(0.0, abs=1e-8)
        student.teaching = 0.5
        half = student(examples, torch.Generator().manual_seed(0))
        student.teaching = 0.0
        assert half == pytest.approx(float(student(examples, torch.Generator().manual_seed(0))) / 4)
    placed.requires_grad_(True).encoder.requires_grad_(False)
    trained = {name for name, _ in student.named_parameters()}
    assert trained == {f"unet.{name}" for name, _ in student.unet.named_parameters()}
    assert student.twin()._teacher[0] is placed


def test_the_transformer_does_not_read_padding():
    torch.manual_seed(0)
    tokenizer = t5.tokenizer()
    denoising = TransformerDenoising(
        t5.text_encoder(tokenizer), transformer(depth=1, width=96),
        *data(tokenizer, list(islice(generate("train"), 2))), **SETTINGS, telling=0.1,
    ).eval()  # fmt: skip
    tokens = Captions.of([Scene((LEFT,), None, "gray")], tokenizer).tokens
    with torch.no_grad():
        x_t, timesteps = torch.randn(1, 4, 16, 16), torch.tensor([500])
        padded = denoising.predict(x_t, timesteps, denoising.states(tokens, None), tokens)
        bare = tokens[:, : int((tokens != tokenizer.pad_token_id).sum())]
        short = denoising.predict(x_t, timesteps, denoising.states(bare, None), bare)
    assert torch.allclose(padded, short, atol=1e-5)


def test_the_transformers_gates_begin_open():
    """With gates near 0 a new transformer's self-attention and feed-forward are hardly heard."""
    for block in transformer(depth=2, width=96).transformer_blocks:
        assert (block.scale_shift_table[[2, 5]] == 1).all()
        assert block.scale_shift_table[[0, 1, 3, 4]].abs().max() < 1


def test_a_state_is_small_and_gives_back_what_was_trained(placed, tmp_path):
    write_state(tmp_path / "state", placed.twin())
    given = Start.read(tmp_path / "state", "unet")
    for name, tensor in placed.unet.state_dict().items():
        assert torch.allclose(given.denoiser.state_dict()[name], tensor, atol=1e-3)
    assert torch.allclose(given.extras["vectors"], placed.vectors, atol=1e-2)
    assert next(given.encoder.parameters()).dtype == torch.float32
    size = sum(path.stat().st_size for path in (tmp_path / "state").rglob("*"))
    assert size < 15e6
    # A transformer begins anew beside it, over the autoencoder and the reader in the box.
    other = Start.read(tmp_path / "state", "transformer")
    assert other.encoder is None
    assert other.denoiser is None


def test_the_state_is_the_best_of_its_stage(placed, tmp_path):
    """A later stage begins anew: it may be worse at first than the one before it was at last."""
    sampler = Sampler(Worker(0, 1, torch.device("cpu"), 0.0), tmp_path, None, reader.Reader(), count=1)  # fmt: skip

    def kept():
        return json.loads((tmp_path / "state" / "scores.json").read_text())

    for score, expected in ((0.5, 0.5), (0.4, 0.5), (0.49, 0.49), (0.7, 0.7)):
        sampler._keep(placed, {"all": score, "order": float("nan")})
        assert kept()["all"] == expected
    torch.manual_seed(0)
    tokenizer = placed.tokenizer
    later = UNetDenoising(
        t5.text_encoder(tokenizer), placed.unet, placed._latents, placed.captions, tokenizer,
        **SETTINGS, telling=0.1,
    )  # fmt: skip
    sampler._keep(later, {"all": 0.1})
    assert kept() == {"stage": "UNetDenoising", "all": 0.1}
    assert list(Start.read(tmp_path / "state", "unet").extras) == ["places"]


def test_a_recipe_is_chosen_by_the_models_name():
    assert choose("shapes", from_nothing=False) is BindingRecipe
    assert choose("shapes-dit", from_nothing=False) is TransformerRecipe
    with pytest.raises(
        InputError,
        match="'sdxl' is not trained here: choose shapes, shapes-dit, shapes-lcm, reader",
    ):
        choose("sdxl", from_nothing=False)
    assert choose("shapes-lcm", from_nothing=False) is ConsistencyRecipe
    for model in ("shapes-dit", "shapes-lcm"):
        with pytest.raises(InputError, match="leave `start` out"):
            choose(model, from_nothing=True)


def test_what_draws_is_trained_from_nothing(tmp_path):
    with pytest.raises(InputError, match="leave `start` out"):
        train(tmp_path / "t", UNetRecipe(scenes=2), start=SHAPES_FOLDER)


@pytest.mark.slow
def test_from_nothing_to_a_u_net_with_a_t5_and_a_state_to_go_on_from(tmp_path):
    drawing = UNetRecipe(autoencoder=short(2), reader=short(2), text=short(2), denoiser=short(2))
    stages = {"placed": short(2, 2), "text": short(2), "denoiser": short(2, 2)}
    recipe = BindingRecipe(scenes=8, samples=6, drawing=drawing, **stages)
    assert train(tmp_path / "t", recipe)
    log = pd.read_csv(tmp_path / "t" / "log.csv")
    assert log["stage"].tolist() == ["placed", "text", "denoiser"]
    assert log["order"].notna().tolist() == [True, False, True]
    assert 0 <= json.loads((tmp_path / "t" / "state" / "scores.json").read_text())["all"] <= 1
    from diffusers import StableDiffusionPipeline

    drawn, bound = (
        StableDiffusionPipeline.from_pretrained(folder / "model")
        for folder in (tmp_path / "t" / "drawing", tmp_path / "t")
    )
    assert type(drawn.text_encoder).__name__ == "CLIPTextModel"
    assert type(bound.text_encoder).__name__ == "T5EncoderModel"
    assert bound("a large red circle on a white background", num_inference_steps=2).images
    for one, other in zip(drawn.vae.parameters(), bound.vae.parameters(), strict=True):
        assert torch.equal(one, other)
    # Latents are kept of the autoencoder before its channels were standardized, and after.
    assert len(list((tmp_path / "t" / "drawing").glob("latents-*.npy"))) == 2
    configs = (tmp_path / "t" / "model").rglob("*.json")
    assert not any(str(tmp_path) in config.read_text() for config in configs)
    # From the state, whose encoder is a T5, only the last stage is left.
    assert train(tmp_path / "on", recipe, start=tmp_path / "t" / "state")
    assert pd.read_csv(tmp_path / "on" / "log.csv")["stage"].tolist() == ["denoiser"]


_TEXT = Schedule(steps=2, batch=4, learning_rate=1e-3, warmup=2)
SHALLOW = TransformerRecipe(
    scenes=12, samples=4, depth=1, width=96, text=_TEXT, layout=_TEXT,
    denoiser=Schedule(steps=12, batch=4, learning_rate=1e-3, warmup=2, evaluate_every=12),
)  # fmt: skip
KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_shapes_recipes import SHALLOW, fitting, train

fitting.CHECKPOINT_SECONDS = 0.0
train(Path(sys.argv[2]), SHALLOW)
"""


@pytest.mark.slow
def test_a_killed_transformer_ends_as_one_that_was_not(tmp_path, monkeypatch):
    (tmp_path / "script.py").write_text(KILLED)
    here = str(Path(__file__).parent)
    command = [sys.executable, str(tmp_path / "script.py"), here, str(tmp_path / "killed")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, start_new_session=True) as doomed:
        while not (tmp_path / "killed" / "denoiser.checkpoint").exists():
            time.sleep(0.05)
            assert doomed.poll() is None
        os.killpg(doomed.pid, signal.SIGKILL)
    assert not (tmp_path / "killed" / "model").exists()
    monkeypatch.setattr(fitting, "CHECKPOINT_SECONDS", 0.0)
    for name in ("killed", "whole"):
        assert train(tmp_path / name, SHALLOW)
    paths = [tmp_path / name / "model" for name in ("killed", "whole")]
    from diffusers import PixArtAlphaPipeline

    killed, whole = (PixArtAlphaPipeline.from_pretrained(path) for path in paths)
    for part in ("transformer", "text_encoder"):
        states = (getattr(pipe, part).state_dict() for pipe in (killed, whole))
        for one, other in zip(*(state.values() for state in states), strict=True):
            assert torch.equal(one, other)
    made = killed("a large red circle on a white background", num_inference_steps=2, use_resolution_binning=False)  # fmt: skip
    assert made.images[0].size == (64, 64)


def test_the_state_in_the_repository_tells_every_token_its_place(tokenizer_folder):
    """What a later training starts from, and what may teach the transformer."""
    given = Start.read(Path(__file__).parents[2] / "docs/training/state/shapes", "unet")
    scenes = [scene for scene in islice(generate("test"), 60) if scene.relation]
    captions = Captions.of(scenes, architecture.tokenizer(tokenizer_folder))
    with torch.no_grad():
        told = given.encoder(captions.tokens).last_hidden_state @ given.extras["places"].T
    about = captions.places > 0
    assert (told.argmax(-1)[about] == captions.places[about]).float().mean() > 0.95


STATES = Path(__file__).parents[2] / "docs/training/state"


def test_the_transformers_state_knows_which_thing_stands_where():
    """Under the captions of exchanged things its predictions are far worse on held-out scenes."""
    given = Start.read(STATES / "shapes-dit", "transformer")
    tokenizer = t5.tokenizer()
    scenes = [scene for scene in islice(generate("test"), 24) if scene.relation]
    exchanged = [Scene(s.things[::-1], s.relation, s.background) for s in scenes]
    images = np.stack([render(s, np.random.default_rng(i)) for i, s in enumerate(scenes)])
    with torch.no_grad():
        latents = given.autoencoder.encode(to_float(images)).latent_dist.mean.numpy()
        losses = []
        for told in (scenes, exchanged):
            denoising = TransformerDenoising(
                given.encoder, given.denoiser, latents, Captions.of(told, tokenizer), tokenizer,
                noise_shift=4.0, dropout=0.0, emphasis=Emphasis(early=1.0, window=(0.85, 0.9)),
            )  # fmt: skip
            examples, generator = torch.arange(len(scenes)), torch.Generator().manual_seed(0)
            losses.append(denoising(examples, generator).item())
    right, wrong = losses
    assert right < 0.35
    assert wrong > right + 0.15


def test_the_few_step_models_state_takes_a_guidance_strength():
    given = Start.read(STATES / "shapes-lcm", "unet")
    assert given.denoiser.config.time_cond_proj_dim == STRENGTH_WIDTH
    assert given.denoiser.time_embedding.cond_proj.weight.abs().max() > 0
    assert type(given.encoder).__name__ == "T5EncoderModel"
