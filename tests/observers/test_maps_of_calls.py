"""Maps of calls of every form: embeddings in the place of text, long texts, no guidance, custom processors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import toys
from test_attention_maps import Materialised

import attnscope
from attnscope.errors import InputError
from attnscope.models.text_tokens import positions_only
from attnscope.observers import AttentionMaps


@pytest.mark.parametrize("tokens", [24, 72])
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_embeddings_that_are_given_have_a_map_a_position_however_long(
    sd, monkeypatch, tokens, guidance
):
    states = torch.randn((4, tokens, 32), generator=torch.Generator().manual_seed(7))

    def call():
        return sd(prompt_embeds=states[:2], negative_prompt_embeds=states[2:], num_inference_steps=2,
                  guidance_scale=guidance, height=16, width=48, output_type="latent",
                  num_images_per_prompt=2, generator=torch.Generator().manual_seed(0)).images  # fmt: skip

    words = positions_only(tokens)
    alone, named = AttentionMaps(), AttentionMaps([words[:3], words])
    plain = call()
    with attnscope.Trace(sd, observers=[alone, named]):
        assert torch.equal(call(), plain)
    maps = alone.maps()
    assert maps.values.shape == (4, 2, tokens, 4, 12)
    np.testing.assert_allclose(maps.values.sum(2), 1, atol=1e-5)
    np.testing.assert_allclose(named.maps().values[2:], maps.values[2:], atol=1e-6)
    assert [len(own) for own in named.maps().words] == [3, 3, tokens, tokens]
    materialised = Materialised(sd, monkeypatch)
    call()
    found = {site: calls[1][-4:] for site, calls in materialised.found.items()}
    site = next(name for name, paid in found.items() if paid.shape[-2:] == (4 * 12, tokens))
    of_sites, of_heads = AttentionMaps(each="site"), AttentionMaps(each="head")
    with attnscope.Trace(sd, observers=[of_sites, of_heads]):
        call()
    place = of_sites.maps().sites.index(site)
    own = of_sites.maps().values[:, 1, place].reshape(4, tokens, -1)
    np.testing.assert_allclose(own, found[site].mean(1).mT, atol=1e-5)
    heads = of_heads.maps().values[:, 1, place].reshape(4, -1, tokens, 4 * 12)
    np.testing.assert_allclose(heads, found[site].mT, atol=1e-5)


class Own:
    """A processor of joint attention that computes its softmax itself."""

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, *args, **kwargs):
        if encoder_hidden_states is None:
            return hidden_states
        return hidden_states, encoder_hidden_states


@pytest.mark.parametrize("make", [toys.flux, toys.sd3])
def test_joint_attention_that_goes_another_way_is_an_error_that_names_the_fix(make):
    pipe = make()
    call = toys.call_flux if make is toys.flux else toys.call_sd3
    usual = dict(pipe.transformer.attn_processors)
    name = type(next(iter(usual.values()))).__name__
    pipe.transformer.set_attn_processor(Own())
    with (
        pytest.raises(InputError, match=f"by Own, not by .* give it diffusers' {name} by set_attn"),
        attnscope.Trace(pipe, observers=[AttentionMaps()]),
    ):
        call(pipe)
    pipe.transformer.set_attn_processor(usual)  # as the error says
    with attnscope.Trace(pipe, observers=[observer := AttentionMaps()]):
        call(pipe)
    assert len(observer.maps().steps) > 1
