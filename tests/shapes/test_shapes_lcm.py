"""Latent consistency distillation: its mathematics, and the recipe at toy size."""

from itertools import islice

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import DDIMScheduler, LatentConsistencyModelPipeline, StableDiffusionPipeline

from attnscope.errors import InputError
from attnscope.models.names import SHAPES_FOLDER
from attnscope.shapes import architecture, t5
from attnscope.shapes.captions import Captions
from attnscope.shapes.denoising import Emphasis
from attnscope.shapes.exporting import Start
from attnscope.shapes.fitting import Schedule
from attnscope.shapes.recipes.lcm import STRENGTH_WIDTH, ConsistencyDistillation, ConsistencyRecipe
from attnscope.shapes.scenes import generate
from attnscope.shapes.train import train


@pytest.fixture
def distilling(tokenizer_folder):
    torch.manual_seed(0)
    tokenizer = architecture.tokenizer(tokenizer_folder)
    scenes = list(islice(generate("train"), 8))
    latents = np.random.default_rng(0).normal(size=(8, 4, 16, 16)).astype(np.float16)
    return ConsistencyDistillation(
        t5.text_encoder(tokenizer), architecture.unet(), None, latents,
        Captions.of(scenes, tokenizer), tokenizer,
        noise_shift=4.0, dropout=0.0, emphasis=Emphasis(),
    ).eval()  # fmt: skip


def noisy(count, seed=0):
    return torch.randn(count, 4, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_a_step_is_that_of_diffusers_ddim(distilling):
    config = architecture.scheduler().config
    ddim = DDIMScheduler(
        trained_betas=config.trained_betas, prediction_type="v_prediction", clip_sample=False,
        timestep_spacing="trailing", set_alpha_to_one=False,
    )  # fmt: skip
    ddim.set_timesteps(50)
    x_t, velocity = noisy(1), noisy(1, 1)
    for t, s in ((999, 979), (499, 479), (39, 19)):
        expected = ddim.step(velocity, t, x_t).prev_sample
        made = distilling.step(x_t, torch.tensor([t]), torch.tensor([s]), velocity)
        assert torch.allclose(made, expected, atol=1e-4)


@torch.no_grad()
def test_the_end_is_what_lcms_scheduler_makes_of_the_u_nets_output(distilling):
    """The last step of a run returns it without noise, for the guidance that a pipeline embeds."""
    states, x = torch.randn(2, 24, 128), noisy(2)
    torch.nn.init.normal_(distilling.unet.time_embedding.cond_proj.weight)
    w = torch.full((2,), 2.0)
    t = torch.full((2,), 999)
    made = distilling.end(distilling.unet, x, t, w, states)
    pipe = distilling.pipeline(None)
    strength = pipe.get_guidance_scale_embedding(w, STRENGTH_WIDTH)
    velocity = distilling.unet(x, 999, states, timestep_cond=strength).sample
    pipe.scheduler.set_timesteps(1)
    expected = pipe.scheduler.step(velocity, pipe.scheduler.timesteps[0], x).denoised
    assert torch.allclose(made, expected, atol=1e-4)
    other = distilling.end(distilling.unet, x, t, w + 1, states)
    assert not torch.allclose(made, other, atol=1e-4)


@torch.no_grad()
def test_a_trajectory_ends_where_it_is(distilling):
    """At the last timestep the network is hardly heard: c_skip is near 1 at 0."""
    x, states = noisy(2), torch.randn(2, 24, 128)
    made = distilling.end(distilling.unet, x, torch.zeros(2, dtype=torch.int64), torch.zeros(2), states)  # fmt: skip
    assert torch.allclose(made, x)


@torch.no_grad()
def test_a_student_begins_as_its_teacher_at_any_strength(distilling):
    x, states, t = noisy(2), torch.randn(2, 24, 128), torch.tensor([700, 300])
    teacher = distilling._guide[0]
    velocity = teacher(x, t, states).sample
    signal, sigma = distilling._signal(t), distilling._sigma(t)
    for w in (0.0, 5.0):
        made = distilling.end(distilling.unet, x, t, torch.full((2,), w), states)
        assert torch.allclose(made, signal * x - sigma * velocity, atol=1e-3)


def test_the_target_follows_the_student_and_nothing_else_learns(distilling):
    teacher = distilling._guide[0]
    before = [p.clone() for p in teacher.parameters()]
    with torch.no_grad():
        distilling.unet.conv_out.bias.add_(1.0)
    distilling(torch.arange(8), torch.Generator().manual_seed(0)).backward()
    moved = distilling.target.conv_out.bias - teacher.conv_out.bias
    assert torch.allclose(moved, torch.full((4,), 0.05), atol=1e-5)
    learning = {name for name, p in distilling.named_parameters() if p.requires_grad}
    assert learning == {f"unet.{name}" for name, _ in distilling.unet.named_parameters()}
    assert distilling.unet.time_embedding.cond_proj.weight.grad.abs().max() > 0
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True))
    twin = distilling.twin()
    assert twin._guide[0] is teacher
    assert twin.target is not distilling.target


def test_a_step_lowers_the_distance(distilling):
    examples = torch.arange(8)
    distilling.following = 1.0
    with torch.no_grad():
        distilling.unet.conv_out.bias.add_(0.5)
    optimizer = torch.optim.Adam(distilling.unet.parameters(), 1e-3)
    losses = []
    for _ in range(6):
        loss = distilling(examples, torch.Generator().manual_seed(0))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.98 * losses[0]


def recipe(steps):
    schedule = Schedule(steps=steps, batch=4, learning_rate=1e-4, warmup=2, evaluate_every=2)
    return ConsistencyRecipe(scenes=8, samples=4, denoiser=schedule)


@pytest.mark.slow
def test_a_few_step_model_is_an_ordinary_folder_and_goes_on(tmp_path):
    assert train(tmp_path / "t", recipe(2), start=SHAPES_FOLDER)
    pipe = LatentConsistencyModelPipeline.from_pretrained(tmp_path / "t" / "model", safety_checker=None)  # fmt: skip
    plain = StableDiffusionPipeline.from_pipe(pipe)
    assert type(plain.scheduler).__name__ == "LCMScheduler"
    made = []
    for kind in (pipe, plain):
        kind.set_progress_bar_config(disable=True)
        for steps in (2, 4, 8):
            image = kind(
                "a large red circle on a white background", num_inference_steps=steps,
                guidance_scale=3.0, generator=torch.Generator().manual_seed(0), output_type="np",
            ).images[0]  # fmt: skip
            assert image.shape == (64, 64, 3)
            made.append(image)
    assert np.allclose(made[1], made[4], atol=1e-5)
    # Lengthened, it goes on from its checkpoint; from its state, with the student.
    assert train(tmp_path / "t", recipe(4), start=SHAPES_FOLDER)
    assert pd.read_csv(tmp_path / "t" / "log.csv")["step"].tolist() == [2, 4]
    given = Start.read(tmp_path / "t" / "state", "unet").denoiser
    assert given.config.time_cond_proj_dim == STRENGTH_WIDTH
    assert train(tmp_path / "on", recipe(2), start=tmp_path / "t" / "state")


def test_what_has_no_u_net_cannot_be_distilled(tmp_path):
    with pytest.raises(InputError, match="has no U-Net that can be distilled"):
        train(tmp_path / "t", ConsistencyRecipe(teacher=tmp_path, scenes=2))
