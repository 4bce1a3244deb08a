"""The batches of a run: decided by its prompts and a size, whoever makes them."""

import pytest

from attnscope.errors import InputError
from attnscope.runs.cut import WHOLE, Share, batches_left, count_of, cut
from attnscope.runs.prompts import Prompt

ITEMS = [(Prompt(number, str(number)), str(number)) for number in range(3, 14)]


def ids(batches):
    return {number: [item[0].prompt_id for item in items] for number, items in batches}


@pytest.mark.parametrize("shards", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [1, 3, 20])
def test_shards_have_every_batch_once_and_cut_it_like_the_whole(size, shards):
    whole = ids(batches_left(ITEMS, size, set()))
    assert [one for batch in whole.values() for one in batch] == list(range(3, 14))
    parts = [ids(batches_left(ITEMS, size, set(), Share(n + 1, shards))) for n in range(shards)]
    joined = {}
    for part in parts:
        assert not joined.keys() & part.keys()
        joined |= part
    assert joined == whole
    counts = [count_of(ITEMS, size, Share(n + 1, shards)) for n in range(shards)]
    assert counts == [sum(map(len, part.values())) for part in parts]


def test_what_goes_on_keeps_its_batches_whatever_is_there():
    left = ids(batches_left(ITEMS, 4, {3, 4, 5, 6, 8, 9}))
    assert left == {1: [7, 10], 2: [11, 12, 13]}


def test_batches_are_counted_on_from_those_of_others():
    (numbers,) = (list(ids(batches_left(ITEMS, 4, set(), Share(2, 2), first=3))),)
    assert numbers == [3, 5]
    assert count_of(ITEMS, 4, Share(2, 2), first=3) == 7
    assert [len(batch) for batch in cut(ITEMS, 4)] == [4, 4, 3]


def test_a_shard_reads_and_writes_as_i_of_n():
    assert Share.parse("2/4") == Share(2, 4)
    assert str(Share(2, 4)) == "2/4"
    assert Share.parse("1/1") == WHOLE
    assert WHOLE.is_whole


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "-1/2", "1/2/3", ""])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(InputError, match=r"write i/n, such as 1/4, with i from 1 to n"):
        Share.parse(text)
