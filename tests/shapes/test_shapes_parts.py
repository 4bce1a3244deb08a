"""Tokenizer, schedule, reader and training loop of the embedded world."""

import time
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

from attnscope.runs.columns import READ
from attnscope.shapes import architecture, fitting, reader
from attnscope.shapes.fitting import Objective, OutOfTime, Schedule, Worker, fit
from attnscope.shapes.scenes import Scene, Thing, caption, generate, render


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder):
    return architecture.tokenizer(tokenizer_folder)


def test_every_word_of_a_caption_is_one_token(tokenizer):
    for scene in islice(generate("test"), 200):
        text = caption(scene)
        assert tokenizer.tokenize(text) == [word + "</w>" for word in text.split()]
        assert len(tokenizer(text).input_ids) <= architecture.MAX_TOKENS


@pytest.mark.parametrize("text", ["", "zebra crossing, 3 cars!", "naïve café 漢字 🦓", "\x00\x7f"])
def test_any_text_tokenises_without_unknown_tokens(tokenizer, text):
    ids = tokenizer(text).input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    assert all(0 <= index < len(tokenizer) for index in ids)
    assert tokenizer.eos_token_id not in ids[1:-1]


def test_the_schedule_is_stable_diffusions_with_its_noise_divided():
    """log SNR is shifted by 2 ln 4 where the terminal rescaling hardly matters."""
    stable = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    ours = np.cumprod(1 - architecture.shifted_betas(4.0))
    sigma_stable, sigma = (np.sqrt((1 - a) / a) for a in (stable, ours))
    np.testing.assert_allclose(sigma[:100] * 4, sigma_stable[:100], rtol=0.05)
    assert sigma[-1] == pytest.approx(architecture.TERMINAL_SIGMA, rel=1e-6)
    assert (np.diff(sigma) > 0).all()


def test_without_a_shift_the_noise_levels_are_four_times_as_high():
    shifted, plain = (np.cumprod(1 - architecture.shifted_betas(s)) for s in (4.0, 1.0))
    ratio = np.sqrt((1 - plain) / plain) / np.sqrt((1 - shifted) / shifted)
    np.testing.assert_allclose(ratio[:600], 4, rtol=0.05)


def test_the_u_net_has_seven_sites_of_each_kind():
    from attnscope import find_sites

    sites = find_sites(architecture.unet())
    assert [sum(site.kind == kind for site in sites) for kind in ("self", "cross")] == [7, 7]


LEFT = Thing("large", "striped", "red", "circle")
RIGHT = Thing("small", "plain", "blue", "star")


def test_the_reader_compares_in_canonical_order():
    told = Scene((LEFT, RIGHT), "left of", "gray")
    retold = Scene((RIGHT, LEFT), "right of", "gray")
    assert reader.encode(told) == reader.encode(retold)
    read = torch.tensor([reader.encode(told)])
    assert reader.alignment(reader.agreement(read, [retold])) == dict.fromkeys(READ, 1.0)


def test_alignment_tells_what_is_drawn_from_where_it_stands():
    """Swapped things: their attributes are right, their places are not."""
    asked = Scene((LEFT, RIGHT), "left of", "gray")
    swapped = Scene((RIGHT, LEFT), "left of", "gray")
    alone = Scene((LEFT,), None, "gray")
    read = torch.tensor([reader.encode(swapped), [0 if c < 0 else c for c in reader.encode(alone)]])
    scores = reader.alignment(reader.agreement(read, [asked, alone]))
    assert scores["color"] == scores["attributes"] == scores["background"] == 1
    assert scores["relation"] == 0
    assert scores["all"] == 0.5


def test_the_readers_loss_ignores_what_is_absent():
    """A batch of single things says nothing of second ones, and its loss is finite."""
    logits = {
        name: torch.randn(2, len(values), requires_grad=True)
        for name, values in reader.HEADS.items()
    }
    scenes = [Scene((LEFT,), None, "gray"), Scene((RIGHT,), None, "white")]
    loss = reader.heads_loss(logits, torch.tensor([reader.encode(scene) for scene in scenes]))
    loss.backward()
    assert torch.isfinite(loss)
    for name, tensor in logits.items():
        assert bool(tensor.grad.any()) != name.endswith("_2")


class Line(Objective):
    """Fit a line; the batch decides the loss, so order and noise matter."""

    def __init__(self):
        super().__init__(100)
        self.linear = nn.Linear(3, 2)

    def forward(self, examples, generator):
        x = torch.randn(len(examples), 3, generator=generator) + examples[:, None] / 100
        return (self.linear(x).float() - x[:, :2].cumsum(1)).square().mean()


def a_worker(seconds=1e9):
    return Worker(0, 1, torch.device("cpu"), time.monotonic() + seconds)


def line():
    torch.manual_seed(0)
    return Line()


def test_training_goes_on_exactly_where_it_stopped(tmp_path):
    schedule = Schedule(steps=60, batch=8, learning_rate=0.05, warmup=5)
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = fit("line", line(), schedule, a_worker(), tmp_path / "whole", seed=0)
    folder = tmp_path / "parts"
    clock = iter([False, True, False, True, False])

    class Impatient(Worker):
        def out_of_time(self):
            return next(clock)

    impatient = Impatient(0, 1, torch.device("cpu"), 0.0)
    for _ in range(2):
        with pytest.raises(OutOfTime):
            fit("line", line(), schedule, impatient, folder, seed=0)
    parts = fit("line", line(), schedule, impatient, folder, seed=0)
    for left, right in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(left, right)


def test_training_lowers_the_loss_and_logs_it(tmp_path):
    import pandas as pd

    schedule = Schedule(steps=300, batch=16, learning_rate=0.05, warmup=5, evaluate_every=100)
    fit("line", line(), schedule, a_worker(), tmp_path, seed=0, evaluate=lambda a: {"color": 0.5})
    log = pd.read_csv(tmp_path / "log.csv")
    assert tuple(log.columns) == fitting.LOG_COLUMNS
    assert log["loss"].iloc[-1] < 0.1 * log["loss"].iloc[0]
    assert log.query("color == 0.5")["step"].tolist() == [100, 200, 300]
    assert log["examples"].iloc[-1] == 300 * 16


def test_a_log_of_the_old_reading_goes_on_without_what_it_read(tmp_path):
    """When relation was the axis alone: losses stay, and what means the same."""
    import pandas as pd

    (tmp_path / "log.csv").write_text(
        "stage,step,examples,seconds,loss,learning_rate,size,fill,color,shape,relation,background,all\n"
        "text,50,800,1.0,0.5,0.001,,,,,,,\n"
        "unet,100,1600,2.0,0.3,0.001,0.7,0.6,0.5,0.4,1.0,0.9,0.2\n"
    )
    log = fitting.Log(tmp_path / "log.csv", "unet", 100)
    log.write(step=200, loss=0.2, attributes=0.95, relation=0.5, all=0.4)
    rows = pd.read_csv(tmp_path / "log.csv")
    assert tuple(rows.columns) == fitting.LOG_COLUMNS
    assert rows["loss"].tolist() == [0.5, 0.3, 0.2]
    assert rows.loc[1, ["size", "fill", "color", "shape", "attributes", "relation"]].isna().all()
    assert (rows.loc[1, "background"], rows.loc[1, "all"]) == (0.9, 0.2)
    assert rows.loc[2, "relation"] == 0.5
    again = fitting.Log(tmp_path / "log.csv", "unet", 200)
    assert pd.read_csv(again.path).loc[2, "relation"] == 0.5


def test_the_learning_rate_rises_stays_and_falls():
    schedule = Schedule(steps=100, batch=1, learning_rate=1.0, warmup=10, cooldown=0.2)
    factors = [schedule.factor(step) for step in range(100)]
    assert factors[0] == 0.1
    assert set(factors[10:80]) == {1.0}
    assert factors[90] == pytest.approx(0.5)
    assert factors[99] == pytest.approx(0.05)


def test_standardised_latents_reconstruct_the_same_images():
    from attnscope.shapes.latents import standardize

    torch.manual_seed(0)
    model = architecture.autoencoder().eval()
    images = np.stack([render(scene) for scene in islice(generate("train"), 8)])
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        before = model.encode(x).latent_dist
        decoded = model.decode(before.mean).sample
        latents = standardize(model, before.mean.numpy().astype(np.float16))
        after = model.encode(x).latent_dist
        assert torch.allclose(model.decode(after.mean).sample, decoded, atol=1e-4)
        assert torch.allclose(after.std / before.std, after.std[:1] / before.std[:1], rtol=1e-3)
    np.testing.assert_allclose(latents, after.mean, atol=0.02)
    np.testing.assert_allclose(after.mean.std((0, 2, 3)), 1, atol=0.02)
