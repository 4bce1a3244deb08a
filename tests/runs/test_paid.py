"""When words are looked at, from the table of a maps run."""

import pandas as pd
import pytest

from attnscope.runs.paid import ALL, TOGETHER, added_to, last_of, looked_at, together

MASS = {
    "<start>": [0.6, 0.5, 0.4, 0.4],
    "red": [0.1, 0.4, 0.1, 0.05],
    "circle": [0.2, 0.05, 0.3, 0.2],
    "star": [0.1, 0.05, 0.2, 0.1],
}


def attention(mass=MASS, prompt=0):
    rows = [
        {"prompt_id": prompt, "step": step, "site": site, "place": place, "word": word, "peak": 0.5,
         "spread": 1.0, "entropy": 2.0, "mass": share + off}
        for place, (word, shares) in enumerate(mass.items())
        for step, share in enumerate(shares)
        for site, off in (("a", 0.01), ("b", -0.01))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_until_when_a_word_is_looked_at():
    table = looked_at(attention()).set_index("word")
    assert list(table.index) == list(MASS)
    red = table.loc["red"]
    assert red[["first step", "last step", "highest"]].tolist() == pytest.approx([0.1, 0.05, 0.4])
    assert (red["at step"], red["half of it until"]) == (1, 1)
    assert (table.loc["circle", "at step"], table.loc["circle", "half of it until"]) == (2, 3)


def test_the_word_that_is_looked_at_last_has_its_most_at_last():
    looked = looked_at(attention())
    last = last_of(looked, ["red", "circle", "star"])
    assert (last["word"], last["half of it until"]) == ("circle", 3)  # paid more than the star
    assert last_of(looked, ["red", "star"])["word"] == "star"
    rising = looked_at(attention({**MASS, "late": [0.01, 0.02, 0.02, 0.03]}))
    assert last_of(rising, ["circle", "late"])["word"] == "late"
    assert last_of(looked, ["red"])["word"] == "red"
    assert last_of(looked, ["<padding>"]) is None


def test_all_words_together_are_all_but_what_was_added():
    every = together(attention())
    by_step = every[every["word"] == TOGETHER].groupby("step")["mass"].mean()
    assert by_step.tolist() == pytest.approx([0.4, 0.5, 0.6, 0.35])
    assert set(every["word"]) == {"<start>", TOGETHER}
    assert len(every) == 2 * 4 * 2  # a row a word, step and site
    looked = looked_at(every).set_index("word").loc[TOGETHER]
    assert (looked["at step"], looked["half of it until"]) == (2, 3)


def test_tokens_of_words_that_overlap_count_once_and_prompts_are_apart():
    overlapping = {**MASS, "red circle": [0.3, 0.45, 0.4, 0.25], ALL: [0.4, 0.5, 0.6, 0.35]}
    both = pd.concat([attention(overlapping), attention(prompt=1)])
    every = together(both)
    sums = every[every["word"] == TOGETHER].groupby(["prompt_id", "step"])["mass"].mean()
    assert sums.loc[0].tolist() == pytest.approx(sums.loc[1].tolist())


def test_what_was_added_is_known_with_its_encoder():
    assert added_to("<padding> (T5)") == "<padding>"
    assert added_to("start") is None


def test_a_table_without_rows_has_no_words():
    looked = looked_at(attention().iloc[:0])
    assert looked.empty
    assert last_of(looked, ["red"]) is None
