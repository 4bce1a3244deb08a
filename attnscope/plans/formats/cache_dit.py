"""Cache-DiT: one mask over steps for all transformer blocks, with what is cached left as it is.

Checked against version 1.5.3: ``steps_computation_mask`` of ``DBCacheConfig`` is 1 where all blocks are
computed; where it is 0 and ``steps_computation_policy`` is "static", the first
``Fn_compute_blocks`` and the last ``Bn_compute_blocks`` are computed and the others add what they added
before. A file of JSON is YAML too, which is what ``cache_dit.load_configs`` reads.
"""

from __future__ import annotations

from typing import Any

from attnscope.errors import InputError
from attnscope.plans.formats.base import Modules, one_mask, registered
from attnscope.plans.timetable import Timetable


def _python(document: Any) -> str:
    """Lines that make the configuration, to be given to ``cache_dit.enable_cache(pipe, ...)``."""
    values = "".join(f"    {name}={value!r},\n" for name, value in document["cache_config"].items())
    return (
        "from cache_dit import DBCacheConfig\n\n"
        f"cache_config = DBCacheConfig(\n{values})\n"
        "# cache_dit.enable_cache(pipe, cache_config=cache_config)\n"
    )


@registered("cache-dit", about="a configuration of Cache-DiT", python=_python)
def cache_dit(plan: Timetable, modules: Modules) -> dict[str, Any]:
    """The configuration.

    One block is computed at every step all the same: the least that Cache-DiT takes.

    Raises:
        InputError: the plan acts on something else than blocks, or on each as it likes, or drops a
            guidance branch, or forecasts.
    """
    others = [kind for kind in plan.kinds if kind != "block"]
    if others:
        raise InputError(
            f"cache-dit reuses whole transformer blocks, and {plan} acts on {' and '.join(others)}"
        )
    steps = one_mask(plan, modules, "cache-dit")
    return {
        "cache_config": {
            "Fn_compute_blocks": 1,
            "Bn_compute_blocks": 0,
            "max_warmup_steps": 0,
            "num_inference_steps": len(steps),
            "steps_computation_mask": steps,
            "steps_computation_policy": "static",
        }
    }
