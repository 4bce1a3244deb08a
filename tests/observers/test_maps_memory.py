"""What maps of attention take: no softmax is held whole, and what is held is told beforehand."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
import toys
from test_attention_maps import MODELS, STEPS, WIDE
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import attnscope
from attnscope.errors import InputError
from attnscope.observers import AttentionMaps, PointAttention, probabilities


@pytest.fixture(params=MODELS)
def model(request, tokenizer_folder):
    make, call, tokens, branches = MODELS[request.param]
    return request.param, make(tokenizer_folder), call, tokens, branches


def test_no_more_probabilities_are_held_at_a_time_than_a_chunk_has(model, monkeypatch):
    """Or than one head pays from one position, in all rows: no chunk is smaller."""
    _, pipe, call, _, _ = model
    monkeypatch.setattr(probabilities, "CHUNK", 200)
    own, held = probabilities._probabilities, []

    def counting(attention, rows, heads, queries):
        found = own(attention, rows, heads, queries)
        held.append((found.numel(), found.shape[0] * found.shape[-1]))
        return found

    monkeypatch.setattr(probabilities, "_probabilities", counting)
    with attnscope.Trace(pipe, observers=[AttentionMaps()]):
        call(pipe, **WIDE)
    assert all(count <= max(200, least) for count, least in held)


def test_maps_of_heads_that_are_averaged_are_not_kept(model, monkeypatch):
    """Without words they are a softmax: of all heads together it would be the whole."""
    _, pipe, call, _, _ = model
    monkeypatch.setattr(probabilities, "CHUNK", 50)  # a head at a time
    own, alive, most = probabilities._of_heads, [], [0]

    def watched(*args, **kwargs):
        found = own(*args, **kwargs)
        alive.append(weakref.ref(found.maps))
        most[0] = max(most[0], sum(there() is not None for there in alive))
        return found

    monkeypatch.setattr(probabilities, "_of_heads", watched)
    with attnscope.Trace(pipe, observers=[AttentionMaps()]):
        call(pipe, **WIDE)
    assert len(alive) > most[0] == 1


class Peak(TorchDispatchMode):
    """The most bytes that tensors made in its block take at a time."""

    def __init__(self):
        super().__init__()
        self.bytes = 0
        self._made = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        self._made = [ref for ref in self._made if ref() is not None]
        self._made += [weakref.ref(t) for t in tree_leaves(found) if isinstance(t, torch.Tensor)]
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
                    for ref in self._made if (t := ref()) is not None}  # fmt: skip
        self.bytes = max(self.bytes, sum(storages.values()))
        return found


BOUND = 24 * 2**20
"""Of twenty prompts of the model in the box, all 25 steps, all sites, all 24 tokens, as docs/maps.md says."""


def test_twenty_prompts_with_all_steps_and_sites_stay_under_the_bound():
    pipe = attnscope.load("shapes")
    pipe.set_progress_bar_config(disable=True)
    prompts, steps, tokens = list(toys.PROMPTS) * 10, 25, 24
    held, passing = [], []

    class Watched(AttentionMaps):
        def attend(self, *args):
            with Peak() as peak:
                super().attend(*args)
            held.append(self.held)
            passing.append(peak.bytes)

    observer = Watched()
    with attnscope.Trace(pipe, observers=[observer]):
        pipe(prompts, num_inference_steps=steps, guidance_scale=3.0, output_type="latent",
             generator=[torch.Generator().manual_seed(n) for n in range(20)])  # fmt: skip
    told = {"steps": steps, "words": tokens, "batch": 20}
    assert max(held) == observer.nbytes(pipe, **told) == 4 * 20 * tokens * steps * (16**2 + 8**2)
    assert observer.maps().nbytes == observer.host_nbytes(pipe, **told)
    assert len(set(passing)) > 1  # it is seen at all
    assert max(held) + max(passing) < BOUND


@pytest.mark.parametrize("each", ["model", "site", "head"])
@pytest.mark.parametrize("steps", [None, [0, 2]])
def test_what_is_returned_is_foreseen(model, each, steps):
    _, pipe, call, tokens, _ = model
    words = AttentionMaps(each=each, steps=steps, every=2)
    points = PointAttention([(0.3, 0.5), (0.9, 0.1)], each=each, steps=steps)
    with attnscope.Trace(pipe, observers=[words, points]):
        call(pipe, **WIDE)
    told = {"steps": STEPS, "batch": 2, **WIDE}
    assert words.maps().nbytes == words.host_nbytes(pipe, words=tokens, **told)
    assert points.maps().nbytes == points.host_nbytes(pipe, **told)


def test_chosen_steps_that_are_far_apart_are_not_averaged_and_told_of(sd):
    held = []

    class Watched(AttentionMaps):
        def attend(self, *args):
            super().attend(*args)
            held.append(self.held)

    observer = Watched(steps=[0, 2, 5], every=2)
    with attnscope.Trace(sd, observers=[observer]):
        toys.call(sd, steps=6)
    assert observer.maps().steps == (0, 2, 4)
    told = {"steps": 6, "words": 24, "height": 32, "width": 32}
    assert max(held) == observer.nbytes(sd, **told)
    assert np.isfinite(observer.maps().values).all()


class Named:
    def __init__(self, *positions):
        self.name, self.positions = "", positions


def test_as_many_words_are_foreseen_as_the_prompt_with_most_has(sd):
    two, three = [Named(1), Named(2, 3)], [Named(1), Named(2), Named(3)]
    observer = AttentionMaps([two, three, two], every=None)
    token = AttentionMaps(every=None).nbytes(sd, steps=4, words=1)
    assert observer.nbytes(sd, steps=4, batch=2) == 2 * 3 * token
    assert observer.nbytes(sd, steps=4, batch=2, words=5) == 2 * 5 * token


def test_it_is_refused_to_foresee_how_many_tokens_a_text_has_and_words_of_points(sd):
    with pytest.raises(InputError, match=r"not known yet: give words=, such as 77"):
        AttentionMaps().nbytes(sd, steps=4)
    with pytest.raises(InputError, match=r"words=3 is of maps of words: leave it out"):
        PointAttention([(0.5, 0.5)]).host_nbytes(sd, steps=4, words=3)
