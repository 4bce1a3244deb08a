"""The images of an arm of an ablation, made of a pipeline that is there and of no model with a name."""

from functools import partial

from attnscope.analyses.ablation.sample import pictured_of, sampled
from attnscope.runs.batches import in_batches
from attnscope.runs.progress import SILENT, Kept


def sample_arm(pipe, arm, settings, prompts, given, run, *, batch_size, progress=SILENT, **options):
    """Make what is not there yet, as a run does, and keep it in the run."""
    done = run.known(f"{arm.key}/images")
    pairs = list(zip(prompts, given, strict=True))
    left = [pair for pair in pairs if pair[0].prompt_id not in done]
    progress.advance(len(pairs) - len(left))
    work = partial(sampled, pipe, arm, settings, pictured_of(prompts), options)
    kept = Kept(progress, run.path, lambda size: run, batch_size)
    for batch, made in in_batches(left, batch_size, work, progress=progress):
        kept.keep(made, batch[0][0].prompt_id)
        progress.advance(len(batch))
