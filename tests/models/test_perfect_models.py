"""A model that knows x_0 and the noise, driven through schedulers: what comes back is what it knew.

Nothing here reads a scheduler's table of noise levels. Fresh noise is orthogonal to all that went
before, so the latents themselves tell what they are made of: their part along x_0 and the rest.
"""

import inspect
import sys

import diffusers
import numpy as np
import pytest
import torch

from attnscope.errors import InputError
from attnscope.models import predictions
from attnscope.models.schedulers import SCHEDULERS
from attnscope.versions import release

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
NUMEL = 96
STEPS = 8
KINDS = ("epsilon", "v_prediction", "sample")
STRAIGHT = {"use_flow_sigmas": True}


class World:
    """x_0, and as many draws of noise as there are, all orthogonal and of one length."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        square = torch.randn((NUMEL, NUMEL), generator=generator, dtype=torch.float64)
        self.draws = iter(torch.linalg.qr(square).Q.T * NUMEL**0.5)
        self.clean = self.draw() * 0.7

    def draw(self, *args, **kwargs):
        return next(self.draws).reshape(1, 1, 8, NUMEL // 8)

    def taken_apart(self, latents):
        """A, B and eps of latents = A x_0 + B eps."""
        signal = float((latents * self.clean).sum() / self.clean.square().sum())
        rest = latents - signal * self.clean
        noise = float(rest.norm() / NUMEL**0.5)
        return signal, noise, rest / noise


def prediction(kind, world, latents):
    """What the perfect model says of latents, and the noise that it knows to be in them."""
    signal, noise, eps = world.taken_apart(latents)
    alpha, sigma = np.array([signal, noise]) / np.hypot(signal, noise)
    said = {
        "epsilon": eps,
        "sample": world.clean,
        "v_prediction": alpha * eps - sigma * world.clean,
        "flow_prediction": eps - world.clean,
        "inverted": world.clean - eps,
    }
    return said[kind], eps, signal, noise


def made(name, **options):
    kind = getattr(diffusers, f"{name}Scheduler")
    taken = SCHEDULE if "beta_start" in inspect.signature(kind.__init__).parameters else {}
    return kind(**{**taken, **options})


def started(scheduler, world, steps, **set_to):
    """Latents at the first timestep."""
    scheduler.set_timesteps(**({"num_inference_steps": steps} | set_to))
    eps, first = world.draw(), scheduler.timesteps[:1]
    if hasattr(scheduler, "add_noise") and not scheduler.config.get("use_flow_sigmas"):
        return scheduler.add_noise(world.clean, eps, first)
    sigma = scheduler.sigmas[0].double()
    inverted = scheduler.config.get("invert_sigmas")
    signal, noise = (sigma, 1 - sigma) if inverted else (1 - sigma, sigma)
    return signal * world.clean + noise * eps


def drive(scheduler, kind, monkeypatch, *, steps=STEPS, put_back=False, **set_to):
    """Hold what attnscope says at every step to what the model knew; the latents at the end.

    ``put_back`` puts the latents back to their level before every step, for a solver that leaves it.
    """
    world = World()
    monkeypatch.setattr(sys.modules[type(scheduler).__module__], "randn_tensor", world.draw, False)
    if release("diffusers") < (0, 39):
        monkeypatch.setattr(torch, "randn_like", world.draw)
    latents = started(scheduler, world, steps, **set_to)
    timesteps = scheduler.timesteps.double().numpy()
    snr = predictions.log_snr(scheduler, timesteps)
    for place, timestep in enumerate(scheduler.timesteps):
        if put_back:
            latents = scheduler.add_noise(
                world.clean, world.taken_apart(latents)[2], timestep[None]
            )
        said, eps, signal, noise = prediction(kind, world, latents)
        where = f"step {place} of {len(timesteps)}: {signal:.4g} x_0 + {noise:.4g} eps"
        if signal > 1e-6 and noise > 1e-6:
            expected = 2 * np.log(signal / noise)
            np.testing.assert_allclose(snr[place], expected, atol=5e-3, err_msg=where)
        elif noise > 1e-6:
            assert snr[place] < -10, where
        for ask, known, defined in (
            (predictions.noise_weights, eps, kind != "sample" or noise > 1e-6),
            (predictions.clean_weights, world.clean, kind != "epsilon" or signal > 0.03),
        ):
            a, b = ask(scheduler, timesteps[place], place=place)
            if defined:
                found = a * said + b * latents
                np.testing.assert_allclose(found, known, atol=1e-2, err_msg=where)
        latents = scheduler.step(said, timestep, latents).prev_sample
    return latents, world


NAMED = [
    (class_name.removesuffix("Scheduler"), settings) for class_name, settings in SCHEDULERS.values()
]
OF_BETAS = [
    *NAMED,
    ("DDIM", {"clip_sample": False, **ZERO_SNR}),
    ("DDIM", {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}),
    ("DDIMParallel", {"clip_sample": False}),
    ("DDPM", {"clip_sample": False}),
    ("DDPM", {"clip_sample": False, "timestep_spacing": "trailing"}),
    ("DDPMParallel", {"clip_sample": False}),
    ("PNDM", {}),
    ("TCD", {}),
    ("LCM", {"clip_sample": False, "timestep_scaling": 1e6}),
    ("CogVideoXDDIM", {"clip_sample": False, "snr_shift_scale": 3.0}),
    ("EulerDiscrete", {"use_karras_sigmas": True}),
    ("EulerDiscrete", {"use_exponential_sigmas": True, "timestep_spacing": "trailing"}),
    ("EulerDiscrete", {"use_beta_sigmas": True}),
    ("EulerDiscrete", {"final_sigmas_type": "sigma_min"}),
    ("EulerDiscrete", {"interpolation_type": "log_linear"}),
    # Its largest sigma is 1 to the digit, so that it starts from unit noise as others do.
    ("EulerDiscrete", {"use_karras_sigmas": True, "sigma_max": 1.0, "sigma_min": 0.01}),
    ("EulerDiscrete", ZERO_SNR),
    ("EulerDiscrete", {"timestep_type": "continuous", "use_karras_sigmas": True}),
    ("EulerAncestralDiscrete", ZERO_SNR),
    ("HeunDiscrete", {"use_karras_sigmas": True}),
    ("HeunDiscrete", {"use_exponential_sigmas": True}),
    ("HeunDiscrete", {"use_beta_sigmas": True}),
    ("LMSDiscrete", {}),
    ("LMSDiscrete", {"use_karras_sigmas": True}),
    ("DPMSolverMultistep", {"use_karras_sigmas": True}),
    ("DPMSolverMultistep", {"use_exponential_sigmas": True}),
    ("DPMSolverMultistep", {"use_beta_sigmas": True}),
    ("DPMSolverMultistep", {"use_lu_lambdas": True}),
    ("DPMSolverMultistep", {"final_sigmas_type": "sigma_min", "solver_order": 3}),
    ("DPMSolverMultistep", {"algorithm_type": "sde-dpmsolver++"}),
    ("DPMSolverMultistep", {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}),
    ("DPMSolverMultistep", ZERO_SNR),
    ("DPMSolverMultistep", {"euler_at_final": True, "timestep_spacing": "leading"}),
    ("DPMSolverSinglestep", {"lower_order_final": True}),
    ("UniPCMultistep", {"use_karras_sigmas": True, "solver_order": 3}),
    ("UniPCMultistep", ZERO_SNR),
    ("UniPCMultistep", {"predict_x0": False, "final_sigmas_type": "sigma_min"}),
    ("DEISMultistep", {}),
    ("DEISMultistep", {"use_karras_sigmas": True}),
    ("SASolver", {}),
    ("SASolver", {"use_karras_sigmas": True}),
]


def _name(value):
    return ",".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else None


TAKES_NO_SAMPLE = ("PNDM", "EulerAncestralDiscrete", "HeunDiscrete")
"""Their own ``step`` refuses a prediction of x_0."""
OF_BETAS_AND_KIND = [
    (name, options, kind)
    for name, options in OF_BETAS
    for kind in KINDS
    if kind != "sample" or name not in TAKES_NO_SAMPLE
]


@pytest.mark.parametrize(("name", "options", "kind"), OF_BETAS_AND_KIND, ids=_name)
def test_a_perfect_model_gets_its_noise_and_its_image_back(name, options, kind, monkeypatch):
    scheduler = made(name, **options, prediction_type=kind)
    # PNDM's half steps are whole timesteps where 1000 / n is even. It averages velocities of several
    # levels, so that its latents end 0.12 nats away from theirs.
    slow = {"steps": 50, "put_back": kind == "v_prediction"} if name == "PNDM" else {}
    drive(scheduler, kind, monkeypatch, **slow)


FLOWS = [
    ("FlowMatchEulerDiscrete", {}, {}),
    ("FlowMatchEulerDiscrete", {"shift": 3.0}, {}),
    ("FlowMatchEulerDiscrete", {"use_dynamic_shifting": True}, {"mu": 0.8}),
    ("FlowMatchEulerDiscrete", {"use_dynamic_shifting": True, "shift_terminal": 0.1}, {"mu": 2.05}),
    (
        "FlowMatchEulerDiscrete",
        {"use_dynamic_shifting": True, "time_shift_type": "linear"},
        {"mu": 1.5},
    ),
    ("FlowMatchEulerDiscrete", {"use_karras_sigmas": True}, {}),
    ("FlowMatchEulerDiscrete", {"use_exponential_sigmas": True}, {}),
    ("FlowMatchEulerDiscrete", {"use_beta_sigmas": True}, {}),
    ("FlowMatchEulerDiscrete", {"stochastic_sampling": True}, {}),
    ("FlowMatchEulerDiscrete", {}, {"sigmas": [1.0, 0.7, 0.3, 0.02], "num_inference_steps": 4}),
    # Timesteps of their own, which are not the noise levels times 1000.
    (
        "FlowMatchEulerDiscrete",
        {},
        {
            "sigmas": [1.0, 0.7, 0.3, 0.02],
            "timesteps": [900.0, 500.0, 100.0, 10.0],
            "num_inference_steps": 4,
        },
    ),
    ("FlowMatchHeunDiscrete", {"shift": 2.0}, {}),
    ("FlowMatchLCM", {"shift": 2.0}, {}),
    ("LTXEulerAncestralRF", {}, {}),
]


@pytest.mark.parametrize(("name", "options", "set_to"), FLOWS, ids=_name)
def test_a_perfect_flow_gets_its_noise_and_its_image_back(name, options, set_to, monkeypatch):
    """x_t = (1 - sigma) x_0 + sigma eps, and the model says eps - x_0."""
    scheduler = made(name, **options)
    end, world = drive(scheduler, "flow_prediction", monkeypatch, **set_to)
    if "shift_terminal" not in options:
        np.testing.assert_allclose(end, world.clean, atol=1e-2)


@pytest.mark.parametrize(
    ("options", "set_to"),
    [
        ({}, {}),
        ({"shift": 3.0}, {}),
        ({"use_dynamic_shifting": True}, {"mu": 0.8}),
        ({"use_karras_sigmas": True}, {}),
        ({"use_beta_sigmas": True}, {}),
        ({}, {"sigmas": [1.0, 0.9, 0.5, 0.1], "num_inference_steps": 4}),
    ],
    ids=_name,
)
def test_a_perfect_model_of_inverted_sigmas_gets_both_back(options, set_to, monkeypatch):
    """Mochi and OmniGen: x_s = (1 - s) eps + s x_0, and the model says x_0 - eps."""
    scheduler = made("FlowMatchEulerDiscrete", invert_sigmas=True, **options)
    end, world = drive(scheduler, "inverted", monkeypatch, **set_to)
    np.testing.assert_allclose(end, world.clean, atol=1e-2)
    s = scheduler.sigmas[:-1].double().numpy()
    with np.errstate(divide="ignore"):
        expected = 2 * np.log(s / (1 - s))
    assert expected[0] == -np.inf
    np.testing.assert_allclose(predictions.log_snr(scheduler, scheduler.timesteps), expected)
    for timestep, level in zip(scheduler.timesteps, s, strict=True):
        assert predictions.noise_weights(scheduler, float(timestep)) == (-level, 1.0)
        a, b = predictions.clean_weights(scheduler, float(timestep))
        np.testing.assert_allclose((a, b), (1 - level, 1.0))


@pytest.mark.parametrize("kind", ["epsilon", "sample", "flow_prediction"])
@pytest.mark.parametrize(
    ("name", "options", "set_to"),
    [
        ("DPMSolverMultistep", {"flow_shift": 3.0}, {}),
        ("DPMSolverSinglestep", {"flow_shift": 3.0}, {}),
        ("UniPCMultistep", {"flow_shift": 5.0}, {}),
        ("UniPCMultistep", {"use_dynamic_shifting": True}, {"mu": 1.2}),
        ("DEISMultistep", {"flow_shift": 3.0}, {}),
        ("SASolver", {"flow_shift": 3.0}, {}),
    ],
    ids=_name,
)
def test_a_perfect_model_on_a_straight_path_gets_both_back(
    name, options, set_to, kind, monkeypatch
):
    """Sana and Wan run solvers of diffusion over x_t = (1 - sigma) x_0 + sigma eps."""
    scheduler = made(name, **STRAIGHT, **options, prediction_type=kind)
    drive(scheduler, kind, monkeypatch, **set_to)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("EulerDiscrete", {"use_karras_sigmas": True, "rho": 7}),
        ("DPMSolverMultistep", {"use_karras_sigmas": True}),
        ("UniPCMultistep", {"use_karras_sigmas": True}),
        ("DEISMultistep", {"use_karras_sigmas": True}),
    ],
    ids=_name,
)
def test_a_timestep_that_stands_twice_keeps_its_two_noise_levels(name, options, monkeypatch):
    """Karras' levels are dense at the end, where several round to one timestep."""
    options.pop("rho", None)
    scheduler = made(name, **options, prediction_type="v_prediction")
    drive(scheduler, "v_prediction", monkeypatch, steps=60)
    timesteps = scheduler.timesteps.double().numpy()
    levels = predictions.log_snr(scheduler, timesteps)
    assert np.all(np.diff(levels) > 0)
    # A run that starts late, as image-to-image does, stands where it stood.
    late = predictions.log_snr(scheduler, timesteps[40:])
    np.testing.assert_array_equal(late, levels[40:])
    assert len(set(timesteps)) < 60 or name == "EulerDiscrete"


REFUSED = [
    ("EDMEuler", {}),
    ("EDMEuler", {"prediction_type": "v_prediction"}),
    ("EDMDPMSolverMultistep", {}),
    ("CosineDPMSolverMultistep", {}),
    ("IPNDM", {}),
    ("SCM", {}),
    ("DDIMInverse", {}),
    ("DPMSolverMultistepInverse", {}),
    ("KDPM2Discrete", {"prediction_type": "v_prediction"}),
    ("DPMSolverSDE", {"prediction_type": "v_prediction"}),
    ("ScoreSdeVe", {}),
    ("DDIM", {"prediction_type": "velocity"}),
    ("DPMSolverMultistep", {"prediction_type": "flow_prediction"}),
    ("DPMSolverMultistep", {"prediction_type": "v_prediction", **STRAIGHT}),
    ("FlowMatchEulerDiscrete", {"invert_sigmas": True, "stochastic_sampling": True}),
    ("FlowMatchLCM", {"invert_sigmas": True}),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of KDPM2 itself
@pytest.mark.parametrize(("name", "options"), REFUSED, ids=_name)
def test_what_is_not_known_is_refused_by_one_line_before_a_run(name, options):
    if name in ("DPMSolverSDE", "CosineDPMSolverMultistep"):
        pytest.importorskip("torchsde")
    scheduler = made(name, **options)
    scheduler.set_timesteps(2)
    with pytest.raises(InputError) as caught:
        predictions.check_prediction(scheduler)
    message = str(caught.value)
    assert name in message
    assert "choose" in message
    assert "\n" not in message
    for ask in (predictions.noise_weights, predictions.clean_weights):
        with pytest.raises(InputError):
            ask(scheduler, float(scheduler.timesteps[0]))


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # of KDPM2 itself
@pytest.mark.parametrize("name", ["KDPM2Discrete", "KDPM2AncestralDiscrete", "IPNDM", "SCM"])
def test_levels_between_those_of_the_schedule_are_refused(name):
    scheduler = made(name)
    scheduler.set_timesteps(2)
    with pytest.raises(InputError, match="log-SNR is not defined"):
        predictions.log_snr(scheduler, scheduler.timesteps)


def test_a_timestep_of_another_schedule_is_refused():
    scheduler = made("EulerDiscrete")
    scheduler.set_timesteps(4)
    with pytest.raises(InputError, match="timestep=500 is none of this EulerDiscreteScheduler's"):
        predictions.log_snr(scheduler, [500.0])
    scheduler = made("DDIM")
    scheduler.set_timesteps(4)
    with pytest.raises(InputError, match="timestep=1000 is none"):
        predictions.log_snr(scheduler, [1000.0])


def test_nothing_is_said_of_an_image_where_all_is_noise():
    scheduler = made("DDIM", clip_sample=False, **ZERO_SNR)
    scheduler.set_timesteps(4)
    first = float(scheduler.timesteps[0])
    assert predictions.noise_weights(scheduler, first) == (1.0, 0.0)
    assert np.isnan(predictions.clean_weights(scheduler, first)).all()
    assert predictions.log_snr(scheduler, [first])[0] == -np.inf


def test_a_class_made_from_a_known_one_is_known():
    class Own(diffusers.DDIMScheduler):
        """As users make them."""

    made_by_hand = Own(**SCHEDULE, clip_sample=False, prediction_type="v_prediction")
    made_by_hand.set_timesteps(4)
    assert np.isfinite(predictions.log_snr(made_by_hand, made_by_hand.timesteps)).all()
    predictions.check_prediction(made_by_hand)
