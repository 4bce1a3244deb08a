"""The whole training at toy size, in processes of its own: it is stopped and goes on."""

import os
import signal
import subprocess
import sys
import time

import pytest

from attnscope.errors import InputError
from attnscope.shapes.fitting import Schedule
from attnscope.shapes.recipes.unet import UNetRecipe
from attnscope.shapes.train import train

SCRIPT = """
import sys
from pathlib import Path
from attnscope.shapes.fitting import Schedule
from attnscope.shapes.recipes.unet import UNetRecipe
from attnscope.shapes.train import train

def short(steps, every=0):
    return Schedule(steps=steps, batch=8, learning_rate=1e-3, warmup=2, evaluate_every=every)

if __name__ == "__main__":
    recipe = UNetRecipe(scenes=64, samples=12, autoencoder=short(4), reader=short(4),
                        text=short(4), denoiser=short(4, every=2))
    minutes = float(sys.argv[2]) if len(sys.argv) > 2 else None
    sys.exit(0 if train(Path(sys.argv[1]), recipe, workers=2, minutes=minutes) else 3)
"""


@pytest.mark.slow
def test_training_ends_in_a_folder_that_diffusers_loads(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)

    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "t")]
    stopped = subprocess.run([*command, "1e-6"], check=False)
    assert stopped.returncode == 3
    assert not (tmp_path / "t" / "model").exists()
    with subprocess.Popen(command, start_new_session=True) as doomed:
        while not (tmp_path / "t" / "reader.checkpoint").exists():
            time.sleep(0.2)
            assert doomed.poll() is None
        os.killpg(doomed.pid, signal.SIGKILL)
    assert not (tmp_path / "t" / "model").exists()
    subprocess.run(command, check=True)
    configs = (tmp_path / "t" / "model").rglob("*.json")
    assert not any(str(tmp_path) in config.read_text() for config in configs)
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "t" / "model")
    assert pipe("a large red circle on a white background", num_inference_steps=2).images
    log = (tmp_path / "t" / "log.csv").read_text()
    assert all(
        log.count(f"\n{stage},") > 0 for stage in ("autoencoder", "reader", "text", "denoiser")
    )
    assert (tmp_path / "t" / "sheet-01.png").exists()


def test_a_folder_of_another_recipe_is_refused(tmp_path):
    impatient = UNetRecipe(scenes=2, reader=Schedule(steps=1, batch=1, learning_rate=1e-3))
    assert not train(tmp_path / "t", impatient, minutes=1e-9)
    with pytest.raises(InputError, match=r"noise_shift is 4\.0 there and 1\.0 here"):
        train(tmp_path / "t", UNetRecipe(scenes=2, noise_shift=1.0), minutes=1e-9)
