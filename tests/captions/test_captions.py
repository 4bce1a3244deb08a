import json
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from attnscope.errors import InputError
from attnscope.runs.prompts import read_captions

NO_BREAKS = ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
"""What Python's ``splitlines`` takes for the end of a line and no editor and no ``wc`` does."""


@pytest.fixture
def read(tmp_path):
    """Numbers and texts of the captions in a file of this name and content."""

    def read(name, content, column=None):
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(data)
        return [(p.prompt_id, p.text) for p in read_captions(tmp_path / name, column)]

    return read


def texts(found):
    return [text for _, text in found]


def refused(read, name, content, *words, column=None):
    """The one line that a file is refused with, which holds the words."""
    with pytest.raises(InputError) as caught:
        read(name, content, column)
    message = str(caught.value)
    assert name in message
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


# --- lines of text ---------------------------------------------------------------------------


@pytest.mark.parametrize("mark", NO_BREAKS)
def test_only_line_breaks_that_people_see_end_a_caption(read, mark):
    assert read("c.txt", f"a cat{mark}on a mat\na dog\n") == [
        (0, f"a cat{mark}on a mat"),
        (1, "a dog"),
    ]
    table = f"id,caption\n1,a cat{mark}on a mat\n2,a dog\n"
    assert read("c.csv", table) == [(0, f"a cat{mark}on a mat"), (1, "a dog")]
    lines = json.dumps({"caption": f"a cat{mark}on a mat"}, ensure_ascii=mark < " ") + "\n"
    assert texts(read("c.jsonl", lines)) == [f"a cat{mark}on a mat"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
@pytest.mark.parametrize("name", ["c.txt", "c.csv", "c.tsv", "c.jsonl"])
def test_lines_may_end_as_on_any_system(read, name, end):
    rows = ["a cat", "a dog", "a cow"]
    if name == "c.jsonl":
        rows = [json.dumps(row) for row in rows]
    elif name != "c.txt":
        rows = ["caption", *rows]
    assert read(name, end.join([*rows, ""])) == [(0, "a cat"), (1, "a dog"), (2, "a cow")]


@pytest.mark.parametrize("name", ["c.txt", "c.csv"])
def test_a_carriage_return_inside_a_line_is_refused_by_line(read, name):
    refused(read, name, "caption of a cow\na cat\ron a mat\na dog\n", "line 2", "carriage return")


def test_marks_of_the_byte_order_are_no_part_of_a_caption(read):
    assert texts(read("c.txt", "\ufeffa cat\n\ufeffa dog\n")) == [
        "a cat",
        "a dog",
    ]  # two files in one
    assert texts(read("c.csv", '\ufeff"caption",id\n\ufeffa cat,1\n')) == ["a cat"]
    assert texts(read("c.tsv", "\ufeffcaption\tid\na cat\t1\n")) == ["a cat"]
    assert texts(read("c.jsonl", '\ufeff{"caption": "a cat"}\n')) == ["a cat"]
    assert texts(read("c.json", '\ufeff{"annotations": [{"caption": "a cat"}]}')) == ["a cat"]


@pytest.mark.parametrize("name", ["c.txt", "c.csv", "c.tsv", "c.json", "c.jsonl"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le", "utf-32"])
def test_other_encodings_are_refused_by_name(read, name, encoding):
    content = "caption\na cat\n".encode(encoding)
    message = refused(read, name, content, "not UTF-8 text")
    if encoding in ("utf-16", "utf-32"):
        assert encoding.upper() in message


@pytest.mark.parametrize("name", ["c.txt", "c.csv"])
def test_a_byte_that_is_no_text_is_refused_by_line(read, name):
    refused(read, name, "caption\na cat\na café\n".encode("latin-1"), "not UTF-8 text", "line 3")
    refused(read, name, "caption\na\0cat\n", "line 2", "NUL")


@pytest.mark.parametrize(
    "content",
    [
        '{"caption": "a cat"}\n{"caption": "a dog"}\n',
        '["a cat", "a dog"]',
        '[\n  {"caption": "a cat"},\n  {"caption": "a dog"}\n]\n',
        "id,caption\n1,a cat\n",
        "image,caption\n1000268201_693b08cb0e.jpg,A child in a pink dress\n",
        "caption\tkind\na cat\tA\n",
        "Prompt\na cat\na dog\n",
    ],
)
def test_a_table_that_is_called_text_is_no_list_of_captions(read, content):
    refused(read, "c.txt", content, "line 1")


def test_what_only_looks_like_a_table_is_a_caption(read):
    lines = ["a cat, a dog", "{red|blue} car", "[cat] on [mat]", "a sign, text, neon", "text"]
    assert texts(read("c.txt", "\n".join(lines))) == lines


@pytest.mark.parametrize(
    "name", ["c.csv.gz", "c.txt.gz", "c.parquet.zst", "c.xlsx", "c.yaml", "c.feather", "c.XLSX"]
)
def test_formats_that_are_not_read_are_refused_by_ending(read, name):
    refused(read, name, "- a cat\n", ".csv")


# --- CSV and TSV -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("c.csv", "caption\na small red circle, on white\na large blue star\n", "line 2"),
        ("c.csv", "caption\na large blue star\na small red circle, on white\n", "line 3"),
        ("c.csv", "caption\na cat, big\na dog, small\n", "line 2"),
        ("c.csv", "id,caption\n1,a cat, on a mat\n", "line 2"),
        ("c.csv", "id,caption\n1,a dog\n\n2,a cat, on a mat\n", "line 4"),
        ("c.csv", 'id,caption\n1,"a dog\non a mat"\n2,a cat, on a mat\n', "line 4"),
        ("c.csv", "caption\na cat,\n", "line 2"),
        ("c.csv", '"caption"\n"1","a cat"\n"2","a dog"\n', "line 2"),  # as R writes row names
        ("c.tsv", "caption\tkind\na cat\ton a mat\tA\n", "line 2"),
    ],
)
def test_a_row_with_too_many_fields_is_refused_by_line(read, name, content, line):
    refused(read, name, content, line, "fields")


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("c.csv", "id,caption\n1,a cat\n2\n3,a dog\n", "line 3"),
        ("c.csv", "caption,kind\na cat,A\na dog\n", "line 3"),
        ("c.tsv", "caption\tkind\na cat\tA\na dog A\n", "line 3"),
    ],
)
def test_a_row_with_too_few_fields_is_refused_by_line(read, name, content, line):
    refused(read, name, content, line, "field")


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("c.tsv", 'prompt\tkind\n"open quote\tA\na dog\tA\nthe end"\tA\na cat\tA\n', "line 2"),
        ("c.csv", 'prompt,kind\n"open quote,A\na dog,A\nthe end",A\na cat,A\n', "line 2"),
        (
            "c.csv",
            'id,prompt,kind\n1,"open quote,A\n2,a dog,A\n3,the end",A\n4,a cat,A\n',
            "line 2",
        ),
        ("c.csv", 'prompt\na cow\n"open quote\na dog\nthe end"\na cat\n', "line 3"),
        ("c.csv", 'prompt\na cow\n"open quote\na dog\n', "line 3"),
        ("c.tsv", 'prompt\tkind\na cow\tA\n"open quote\tA\na dog\tA\n', "line 3"),
        ("c.csv", 'prompt,kind\n"hello" she said,A\n', "line 2"),
        ("c.tsv", 'prompt\tkind\n"hello" she said\tA\n', "line 2"),
    ],
)
def test_a_stray_quote_is_refused_by_line(read, name, content, line):
    refused(read, name, content, line, "quote")


def test_quotes_that_are_closed_are_read_as_they_were_meant(read):
    content = 'id,caption\n1,"a cat, on a mat"\n2,"a ""big"" dog"\n3, "a cow"\n4,a 6" pipe\n'
    right = ["a cat, on a mat", 'a "big" dog', "a cow", 'a 6" pipe']
    assert texts(read("c.csv", content)) == right
    assert texts(read("c.tsv", content.replace(",", "\t").replace("\t on", ", on"))) == right


def test_a_quoted_cell_may_hold_line_breaks_where_only_one_reading_fits(read):
    content = 'id,caption\n1,"a cat\non a mat"\n2,a dog\n'
    assert read("c.csv", content) == [(0, "a cat\non a mat"), (1, "a dog")]
    assert texts(read("c.csv", content.replace("\n", "\r\n"))) == ["a cat\r\non a mat", "a dog"]
    refused(read, "c.csv", 'caption\na dog\n"a cat\non a mat"\n', "line 3", "line 4")


def test_tables_of_pandas_come_back_whole(tmp_path):
    rng = np.random.default_rng(0)
    pieces = ["a cat", ", ", '"', "\t", ";", " and ", "NaN", "3", "\u2028", "é", "'", "\\", "#"]
    made = ["x" + "".join(rng.choice(pieces, 6)) + "x" for _ in range(300)]
    for name, sep in (("c.csv", ","), ("c.tsv", "\t")):
        pd.DataFrame({"id": range(300), "caption": made, "k": "A"}).to_csv(
            tmp_path / name, sep=sep, index=False
        )
        assert [p.text for p in read_captions(tmp_path / name)] == made


def test_blank_rows_have_no_number_and_empty_cells_have_one(read):
    assert read("c.csv", "caption\n\na cat\n\n  \na dog\n") == [(0, "a cat"), (1, "a dog")]
    assert read("c.csv", 'caption\n""\na cat\n') == [(1, "a cat")]
    assert read("c.csv", "id,caption\n1,\n2,a cat\n") == [(1, "a cat")]


@pytest.mark.parametrize("name", ["c.csv", "c.tsv"])
def test_names_of_columns_are_read_as_people_write_them(read, name):
    def table(content):
        return content.replace(",", "\t") if name == "c.tsv" else content

    assert texts(read(name, table("id, Caption \n1, a cat\n"))) == ["a cat"]
    assert texts(read(name, table(",description\n0,a cat\n"))) == ["a cat"]  # an index of pandas
    assert texts(read(name, table("caption,caption2\na,b\n"), "caption2")) == ["b"]
    refused(read, name, table("caption,caption\na cat,a dog\n"), "2 columns called 'caption'")
    refused(read, name, table("a,a,b\n1,2,3\n"), "2 columns called 'a'", column="a")
    assert texts(read(name, table("a,a,caption\n1,2,a cat\n"))) == ["a cat"]
    refused(read, name, table("Caption,text\na,b\n"), "`column`")
    refused(read, name, table(",\na,b\n"), "no column has a name")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("c.csv", "a small red circle\na large blue star\n", "'a small red circle'"),
        ("c.csv", "a cat\na dog\n", "'a cat'"),
        ("c.csv", "id;caption\n1;a cat\n", "';'"),
        ("c.csv", "id\tcaption\n1\ta cat\n", r"'\t'"),
        ("c.tsv", "id,caption\n1,a cat\n", "','"),
        ("c.csv", "sep=,\nid,caption\n", "'sep='"),
        ("c.csv", "1,a cat\n2,a dog\n", "`column`"),
    ],
)
def test_a_table_without_the_names_of_its_columns_is_refused(read, name, content, words):
    refused(read, name, content, words)


def test_a_strange_name_can_be_given(read):
    assert texts(read("c.csv", "a cat\na dog\n", "a cat")) == ["a dog"]
    assert texts(read("c.csv", "image caption\na dog\n")) == ["a dog"]
    assert texts(read("c.csv", "description\na dog\n")) == ["a dog"]


@pytest.mark.parametrize("name", ["c.csv", "c.tsv", "c.txt"])
def test_a_table_without_rows_holds_no_captions(read, name):
    if name == "c.txt":
        refused(read, name, "\n\n", "no captions")
    else:
        refused(read, name, "caption\n", "no captions")


def test_what_looks_like_a_number_in_a_table_of_text_stays_text(read):
    content = "caption,n\n3,1\n007,1\n1e3,1\nNaN,1\nTrue,1\n"
    assert texts(read("c.csv", content)) == ["3", "007", "1e3", "NaN", "True"]


# --- Parquet ---------------------------------------------------------------------------------


@pytest.fixture
def parquet(read):
    """The captions of a Parquet file with these columns."""

    def parquet(columns, column=None):
        table = columns if isinstance(columns, pa.Table) else pa.table(columns)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        return read("c.parquet", sink.getvalue().to_pybytes(), column)

    return parquet


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.binary(),
        pa.large_binary(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.dictionary(pa.int8(), pa.large_string()),
    ],
)
def test_every_way_to_store_text_is_read(parquet, kind):
    values = ["a cat", None, "a café", "", "None", "a cat"]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        values = [None if value is None else value.encode() for value in values]
    found = parquet({"id": range(6), "caption": pa.array(values).cast(kind)})
    assert found == [(0, "a cat"), (2, "a café"), (4, "None"), (5, "a cat")]


@pytest.mark.parametrize(
    ("values", "held"),
    [
        ([["a cat", "one cat"]], "list<element: string>"),
        ([{"en": "a cat", "de": "eine Katze"}], "struct<"),
        ([3], "int64"),
        ([3.0, None], "double"),
        ([True], "bool"),
        ([pd.Timestamp("2024-01-01")], "timestamp"),
        (pa.array([1, 1]).dictionary_encode(), "int64"),
        (pa.array([[("en", "a cat")]], pa.map_(pa.string(), pa.string())), "map<"),
        (pa.array([b"a cat", b"\xff\xfe"]), "row 2"),
        (pa.array(["a cat", "a\0dog"]), "row 2"),
    ],
)
def test_a_column_that_is_no_text_is_refused_with_what_it_holds(read, parquet, values, held):
    with pytest.raises(InputError, match=rf"'caption' .*{re.escape(held)}") as caught:
        parquet({"id": range(len(values)), "caption": values})
    assert "c.parquet" in str(caught.value)


def test_a_column_that_is_not_chosen_may_hold_anything(parquet):
    assert parquet({"caption": ["a cat"], "boxes": [[1, 2]], "x": [b"\xff"]}) == [(0, "a cat")]


def test_a_column_of_nothing_holds_no_captions(parquet):
    with pytest.raises(InputError, match="holds no captions"):
        parquet({"caption": pa.nulls(3)})


def test_names_of_parquet_columns_are_told_apart(parquet):
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["caption", "caption"])
    with pytest.raises(InputError, match="2 columns called 'caption'"):
        parquet(twice)
    dotted = {"caption": ["a cat"], "caption.de": ["eine Katze"]}
    assert texts(parquet(dotted)) == ["a cat"]
    assert texts(parquet(dotted, "caption.de")) == ["eine Katze"]
    with pytest.raises(InputError, match=r"'x' is not in .* \(choose caption, caption.de\)"):
        parquet(dotted, "x")


def test_the_index_of_pandas_is_a_column_like_others(tmp_path):
    table = pd.DataFrame({"caption": ["a cat", "a dog", "a cow"], "kind": ["A", "A", "B"]})
    table.set_index("caption").to_parquet(tmp_path / "named.parquet")
    assert [p.text for p in read_captions(tmp_path / "named.parquet")] == [
        "a cat",
        "a dog",
        "a cow",
    ]
    part = table[["caption"]].rename(columns={"caption": "words"}).iloc[[2, 0]]
    part.to_parquet(tmp_path / "part.parquet")
    found = [(p.prompt_id, p.text) for p in read_captions(tmp_path / "part.parquet")]
    assert found == [(0, "a cow"), (1, "a cat")]
    categories = table.astype({"caption": "category"})
    categories.to_parquet(tmp_path / "categories.parquet")
    found = [p.text for p in read_captions(tmp_path / "categories.parquet")]
    assert found == ["a cat", "a dog", "a cow"]


# --- JSON ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["c.jsonl", "c.ndjson", "c.JSONL", "c.json"])
def test_json_lines_are_a_table(read, name):
    content = '{"id": 1, "caption": "a cat", "k": "A"}\n\n{"id": 2, "caption": "a \\"dog\\"", "k": null}\n'
    assert read(name, content) == [(0, "a cat"), (1, 'a "dog"')]
    assert read(name, content, "k") == [(0, "A")]
    refused(read, name, content, "'x' is not in", "choose id, caption, k", column="x")


def test_a_json_list_is_a_table(read):
    content = json.dumps([{"id": 1, "caption": "a cat"}, {"id": 2, "caption": "a dog"}])
    assert read("c.json", content) == [(0, "a cat"), (1, "a dog")]
    assert texts(read("c.json", '["a cat", "a dog"]')) == ["a cat", "a dog"]
    assert texts(read("c.jsonl", '"a cat"\n"a dog"\n')) == ["a cat", "a dog"]


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        ({"id": 7}, "no 'caption'"),
        ({"caption": 3}, "int"),
        ({"caption": ["a cat", "one cat"]}, "list"),
        ({"caption": {"en": "a cat"}}, "dict"),
        ({"caption": True}, "bool"),
        ({"caption": float("nan")}, "float"),
        ({"caption": "a\0cat"}, "NUL"),
        ({"caption": "a \ud83d cat"}, "Unicode"),
        (["a cat"], "list"),
        ("a cat", "str"),
        (None, "null"),
    ],
)
def test_a_json_entry_without_text_is_refused_by_its_place(read, entry, word):
    entries = [{"caption": "a cow"}, entry]
    refused(read, "c.json", json.dumps({"annotations": entries}), "entry 2", word)
    refused(read, "c.json", json.dumps(entries), "entry 2", word)
    refused(read, "c.jsonl", "\n".join(json.dumps(e) for e in entries), "line 2", word)


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_an_empty_caption_in_json_is_left_out_like_an_empty_cell(read, nothing):
    entries = [{"caption": nothing}, {"caption": "a cat"}]
    assert read("c.json", json.dumps({"annotations": entries})) == [(1, "a cat")]
    assert read("c.jsonl", "\n".join(json.dumps(e) for e in entries)) == [(1, "a cat")]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("c.jsonl", '{"caption": "a cat"}\n{"caption": "a dog"\n', "line 2"),
        ("c.jsonl", '{"caption": "a cat"}\na dog\n', "line 2"),
        ("c.jsonl", '[{"caption": "a cat"}]', "line 1"),
        ("c.jsonl", '{"caption": "a cat"}{"caption": "a dog"}', "line 1"),
        ("c.jsonl", '{"caption": "a cat", "caption": "a dog"}', "'caption' twice"),
        ("c.json", '{"annotations": [{"caption": "a", "caption": "b"}]}', "'caption' twice"),
        ("c.json", '{"annotations": {"caption": "a cat"}}', "not COCO captions"),
        ("c.json", '{"images": []}', "not COCO captions"),
        ("c.json", '"a cat"', "not COCO captions"),
        ("c.json", "", "not COCO captions"),
        ("c.json", '{"annotations": []}', "no captions"),
        ("c.json", "[]", "no captions"),
        ("c.jsonl", "\n", "no captions"),
        ("c.json", '{"annotations": [{"id": 1, "bbox": [0, 0, 1, 1]}]}', "entry 1"),
    ],
)
def test_json_that_is_no_table_of_captions_is_refused(read, name, content, words):
    refused(read, name, content, words)


def test_deep_json_is_refused_and_not_a_crash(read):
    refused(read, "c.json", "[" * 100_000, "not COCO captions")
    refused(read, "c.jsonl", '{"id": ' + "9" * 5000 + "}", "line 1")
