"""The whole training at toy size, in processes of its own: it is stopped and goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from attnscope.errors import InputError
from attnscope.shapes.fitting import Schedule
from attnscope.shapes.recipes.unet import UNetRecipe
from attnscope.shapes.train import train


def short(steps, every=0):
    return Schedule(steps=steps, batch=4, learning_rate=1e-3, warmup=2, evaluate_every=every)


RECIPE = UNetRecipe(
    scenes=12, samples=4, autoencoder=short(2), reader=short(2), text=short(2),
    denoiser=short(4, every=4),
)  # fmt: skip
KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_shapes_train import RECIPE
from attnscope.shapes.train import train

if __name__ == "__main__":
    train(Path(sys.argv[2]), RECIPE, workers=2)
"""


@pytest.mark.slow
def test_training_ends_in_a_folder_that_diffusers_loads(tmp_path):
    folder = tmp_path / "t"
    assert not train(folder, RECIPE, workers=2, minutes=1e-6)
    assert not (folder / "model").exists()
    (tmp_path / "script.py").write_text(KILLED)
    here = str(Path(__file__).parent)
    command = [sys.executable, str(tmp_path / "script.py"), here, str(folder)]
    with subprocess.Popen(command, start_new_session=True) as doomed:
        while not (folder / "reader.checkpoint").exists():
            time.sleep(0.05)
            assert doomed.poll() is None
        os.killpg(doomed.pid, signal.SIGKILL)
    assert not (folder / "model").exists()
    assert train(folder, RECIPE, workers=2)
    configs = (folder / "model").rglob("*.json")
    assert not any(str(tmp_path) in config.read_text() for config in configs)
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(folder / "model")
    assert pipe("a large red circle on a white background", num_inference_steps=2).images
    log = (folder / "log.csv").read_text()
    assert all(
        log.count(f"\n{stage},") > 0 for stage in ("autoencoder", "reader", "text", "denoiser")
    )
    assert (folder / "sheet-01.png").exists()


def test_a_folder_of_another_recipe_is_refused(tmp_path):
    impatient = UNetRecipe(scenes=2, reader=Schedule(steps=1, batch=1, learning_rate=1e-3))
    assert not train(tmp_path / "t", impatient, minutes=1e-9)
    with pytest.raises(InputError, match=r"noise_shift is 4\.0 there and 1\.0 here"):
        train(tmp_path / "t", UNetRecipe(scenes=2, noise_shift=1.0), minutes=1e-9)
