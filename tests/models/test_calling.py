"""What a pipeline is called with: Stable Video Diffusion guides every frame by a scale of its own."""

import numpy as np
import pytest
import toys
from PIL import Image

import attnscope
from attnscope.errors import InputError
from attnscope.models import architectures, random_weights
from attnscope.models.calling import call, call_options
from attnscope.models.schedulers import SCHEDULERS, set_scheduler, steps_of

SCALES = {
    4.0: [1.0, 2.5, 4.0],
    1.5: [1.0, 1.25, 1.5],
    1.0: [1.0, 1.0, 1.0],  # the same for all, which is no guidance
    0.5: [0.5, 0.5, 0.5],  # below that too: no frame is guided more than was asked for
    0.0: [0.0, 0.0, 0.0],
}


@pytest.fixture(scope="module")
def svd(tmp_path_factory):
    return toys.stable_video_diffusion(tmp_path_factory.mktemp("tokenizer"))


@pytest.mark.parametrize(("guidance", "scales"), SCALES.items())
def test_video_is_guided_from_1_at_the_first_frame_to_the_scale_at_the_last(svd, guidance, scales):
    options = {"num_frames": 3, "height": 32, "width": 32, "output_type": "latent"}
    call(svd, [Image.new("RGB", (32, 32))], seeds=[0], steps=1, guidance=guidance, **options)
    np.testing.assert_allclose(svd.guidance_scale.flatten(), scales)


@pytest.mark.parametrize("guidance", SCALES)
def test_a_model_of_random_weights_is_guided_as_the_model_is(svd, guidance):
    architecture = architectures.find("svd").resized(64, 64, None, 2)
    keywords = random_weights.call_keywords(svd, architecture, steps=1, guidance=guidance)
    options = call_options(svd, seeds=[0], steps=1, guidance=guidance)
    for name in ("min_guidance_scale", "max_guidance_scale"):
        assert keywords[name] == options[name]


def test_an_image_has_one_scale(tokenizer_folder):
    options = call_options(
        toys.stable_diffusion(tokenizer_folder), seeds=[0], steps=1, guidance=4.0
    )
    assert options["guidance_scale"] == 4.0
    assert not {"min_guidance_scale", "max_guidance_scale"} & set(options)


@pytest.mark.parametrize("scheduler", list(SCHEDULERS))
def test_more_steps_than_noise_levels_are_refused(sd, scheduler):
    set_scheduler(sd, scheduler)
    with pytest.raises(InputError, match="`steps=1001` is more than the 1000 noise levels"):
        steps_of(sd.scheduler, 1001)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_single_step_of_pixart_is_made_or_refused(scheduler):
    """Its pipeline takes a single step's guess of x_0, which half of the schedulers do not tell."""
    pipe = attnscope.load("shapes-dit", device="cpu")
    set_scheduler(pipe, scheduler)
    options = {"seeds": [0], "guidance": 3.0, "output_type": "latent", "max_sequence_length": 24}
    if scheduler in ("dpm", "pndm", "unipc"):
        with pytest.raises(InputError, match="choose 2 steps or more"):
            call(pipe, ["a red star"], steps=1, **options)
    else:
        call(pipe, ["a red star"], steps=1, **options)
