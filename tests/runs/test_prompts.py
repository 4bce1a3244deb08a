import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from attnscope.errors import InputError
from attnscope.images import open_image
from attnscope.runs.prompts import (
    Prompt,
    count_too_long,
    image_seed,
    read_captions,
    read_images,
    sample_prompts,
)


def texts(prompts):
    return [prompt.text for prompt in prompts]


def test_a_text_file_has_a_caption_a_line(tmp_path):
    (tmp_path / "c.txt").write_text("a cat\n\n a dog \n")
    prompts = read_captions(tmp_path / "c.txt")
    assert [(p.prompt_id, p.text) for p in prompts] == [(0, "a cat"), (2, "a dog")]


def test_coco_annotations_are_read(tmp_path):
    content = {"annotations": [{"id": 1, "caption": "a cat"}, {"id": 2, "caption": "a dog"}]}
    (tmp_path / "captions_val2014.json").write_text(json.dumps(content))
    assert texts(read_captions(tmp_path / "captions_val2014.json")) == ["a cat", "a dog"]


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_a_column_of_a_table_is_read(tmp_path, ending):
    table = pd.DataFrame({"id": [1, 2], "caption": ["a cat", "a dog"], "other": ["x", "y"]})
    path = tmp_path / f"c.{ending}"
    if ending == "parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, sep="\t" if ending == "tsv" else ",", index=False)
    assert texts(read_captions(path)) == ["a cat", "a dog"]
    assert texts(read_captions(path, "other")) == ["x", "y"]
    with pytest.raises(InputError, match=r"column 'x' is not in .* \(choose id, caption, other\)"):
        read_captions(path, "x")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "holds no captions"),
        ("blank.txt", b"\n \n", "holds no captions"),
        ("image.txt", b"\xff\xfe\x00\x80", "not UTF-8 text"),
        ("image.csv", b"caption\n\xff\x80", "not UTF-8 text"),
        ("broken.json", b"{", "not COCO captions"),
        ("other.json", b"[1]", "not COCO captions"),
        ("empty.csv", b"", "not a table"),
        ("broken.parquet", b"PAR1", "not a table"),
        ("many.csv", b"a,b\n1,2\n", "choose by `column`"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_captions(tmp_path / name)


def test_a_missing_file_and_a_needless_column_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_captions(tmp_path / "none.txt")
    (tmp_path / "c.txt").write_text("a cat")
    with pytest.raises(InputError, match="`column` needs a table"):
        read_captions(tmp_path / "c.txt", "caption")


def test_sampling_is_seeded_and_keeps_the_order(tmp_path):
    (tmp_path / "c.txt").write_text("\n".join(f"caption {i}" for i in range(100)))
    prompts = read_captions(tmp_path / "c.txt")
    chosen = sample_prompts(prompts, 10, seed=1)
    assert chosen == sample_prompts(prompts, 10, seed=1)
    assert chosen != sample_prompts(prompts, 10, seed=2)
    assert [p.prompt_id for p in chosen] == sorted({p.prompt_id for p in chosen})
    assert sample_prompts(prompts, None, seed=1) == prompts
    for limit in (0, 101):
        with pytest.raises(InputError, match="there are 100 captions"):
            sample_prompts(prompts, limit, seed=1)


def test_every_image_has_a_seed_of_its_own():
    seeds = {image_seed(s, p, i) for s in range(5) for p in range(20) for i in range(5)}
    assert len(seeds) == 500
    assert image_seed(1, 2, 3) == image_seed(1, 2, 3)


def test_images_are_read_by_name(tmp_path):
    for name in ("b.png", "a.jpg", "notes.txt"):
        (tmp_path / name).touch()
    assert texts(read_images(tmp_path)) == ["a.jpg", "b.png"]
    with pytest.raises(InputError, match="does not exist"):
        read_images(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        read_images(tmp_path / "empty")


def test_captions_are_read_to_the_letter(tmp_path):
    (tmp_path / "C.CSV").write_bytes('\ufeffcaption\nNone\n""\nn/a\n'.encode())
    prompts = read_captions(tmp_path / "C.CSV")
    assert [(p.prompt_id, p.text) for p in prompts] == [(0, "None"), (2, "n/a")]
    (tmp_path / "bom.txt").write_bytes("\ufeffa cat".encode())
    assert texts(read_captions(tmp_path / "bom.txt")) == ["a cat"]


def test_images_come_in_one_size(tmp_path):
    Image.new("L", (50, 20)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("not an image")
    assert open_image(tmp_path / "a.png", (32, 16)).size == (32, 16)
    assert open_image(tmp_path / "a.png", (32, 16)).mode == "RGB"
    with pytest.raises(InputError, match="cannot be read as an image"):
        open_image(tmp_path / "b.png", (32, 16))


def test_a_draw_takes_from_one_to_all_and_none_twice():
    prompts = [Prompt(number, str(number)) for number in range(20)]
    assert len(sample_prompts(prompts, 1, 0)) == 1
    assert sample_prompts(prompts, 20, 0) == prompts
    for seed in range(5):
        assert len(set(sample_prompts(prompts, 15, seed))) == 15
    for limit in (0, 21):
        with pytest.raises(InputError, match="there are 20 captions"):
            sample_prompts(prompts, limit, 0)


def test_the_first_image_is_image_zero():
    """The first word of numpy's seed sequence: images of before are made again."""
    expected = int(np.random.SeedSequence([3, 5, 0]).generate_state(1, np.uint64)[0])
    assert image_seed(3, 5) == image_seed(3, 5, 0) == expected
    assert image_seed(3, 5, 1) != expected


class Words:
    """A tokenizer of words, and marks at both ends."""

    model_max_length = 5

    def __call__(self, texts, *, truncation, verbose):
        assert not truncation, "what is cut could not be counted"
        ids = [[0, *range(len(text.split())), 1] for text in texts]
        return type("Encoded", (), {"input_ids": ids})


@pytest.mark.parametrize(("default", "found"), [(None, (1, 5)), (4, (2, 4)), (9, (1, 5))])
def test_captions_that_are_cut_are_counted(default, found):
    class Pipe:
        tokenizer = Words()

        def __call__(self, prompt, max_sequence_length=default):
            return prompt

    assert count_too_long(Pipe(), ["a b", "a b c", "a b c d"]) == found


def test_nothing_is_cut_without_a_tokenizer():
    assert count_too_long(object(), ["a b c"]) == (0, 0)
