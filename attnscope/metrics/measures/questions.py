"""What answers to questions about an image come to, by the benchmark that the questions are of."""

from __future__ import annotations

import numpy as np

from attnscope.metrics.measures.base import Measure, Seen, measures


@measures(
    "captions",
    dpg=Measure("DPG score", higher=True, form=".1f", leading=10, panel=6),
    dpg_global=Measure("DPG global", higher=True, form=".1f", part_of="dpg"),
    dpg_entity=Measure("DPG entity", higher=True, form=".1f", part_of="dpg"),
    dpg_attribute=Measure("DPG attribute", higher=True, form=".1f", part_of="dpg"),
    dpg_relation=Measure("DPG relation", higher=True, form=".1f", part_of="dpg"),
    dpg_other=Measure("DPG other", higher=True, form=".1f", part_of="dpg"),
    blip_vqa=Measure("BLIP-VQA", higher=True, leading=11, panel=7),
    compbench_color=Measure("CompBench color", higher=True, form=".1f", leading=14, panel=9),
    compbench_shape=Measure("CompBench shape", higher=True, form=".1f", leading=15),
    compbench_texture=Measure("CompBench texture", higher=True, form=".1f", leading=16),
    compbench_spatial=Measure("CompBench spatial", higher=True, form=".1f", leading=17),
    tifa_gm=Measure("Soft-TIFA GM", higher=True, form=".1f", leading=12, panel=8),
    tifa_am=Measure("Soft-TIFA AM", higher=True, form=".1f", leading=13),
    tifa_object=Measure("object atoms", higher=True, form=".1f", part_of="tifa_am"),
    tifa_attribute=Measure("attribute atoms", higher=True, form=".1f", part_of="tifa_am"),
    tifa_count=Measure("count atoms", higher=True, form=".1f", part_of="tifa_am"),
    tifa_position=Measure("position atoms", higher=True, form=".1f", part_of="tifa_am"),
    tifa_verb=Measure("verb atoms", higher=True, form=".1f", part_of="tifa_am"),
)
def questions(seen: Seen) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """The measures of the benchmark that was chosen, from the answers about every image."""
    asking = seen.judges.asking
    if asking is None or seen.answers is None:
        return {}
    own = dict(list(seen.answers.groupby("image", sort=False)))
    empty = seen.answers.head(0)
    scores = [
        asking.questionnaire.benchmark.score(
            asking.questionnaire.items[caption],
            own.get(place, empty)["probability"].to_numpy(float),
            own.get(place, empty)["right"].to_numpy(bool),
        )
        for place, caption in enumerate(seen.captions)
    ]
    return {
        name: np.array([score[name] for score in scores], float)
        for name in asking.questionnaire.benchmark.measures
    }
