"""Strategies of hypothesis for what a user, a disk or a stranger may hand to attnscope."""

import json

from hypothesis import strategies as st

NASTY = (
    "", " ", "\n", "a b", "it's", 'say "so"', "a\nb", "a\tb", "ünïcødé", "日本語", "🎈", "\u202egpj.exe",
    "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "[red]x[/red]", "[/]", "[link=x]", "a/../b", "../../etc",
    "/", "~", ".", "..", "-", "--", "-x", "=", ",", ",,", "+", ":", "a:b", "%", "$HOME", "`id`", "*", "?",
    "nan", "inf", "-inf", "1e400", "-1", "0", "1.5", "9" * 30, "٣", "\uff11\uff12", "0x10", "1_000", "NULL", "null",
    "None", "True", "[]", "{}", "a" * 300, "%s", "{0}", "{x}", "\\", "\ufeff", "é",
)  # fmt: skip
"""Texts that something has stumbled over before."""

nasty = st.sampled_from(NASTY)
text = nasty | st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20
)
"""Whatever can stand on a command line: no NUL, which no process can be given."""
whole = st.integers(-(2**70), 2**70).map(str)
number = whole | st.floats(allow_nan=True, allow_infinity=True).map(str)
listed = st.lists(number | nasty, max_size=3).map(",".join)
plan = st.builds(
    "{}{}{}".format,
    st.sampled_from(("", "tgate:", "cross-reuse:", "guidance-cutoff:", "reweight:", "magic:", "baseline+")),
    st.lists(
        st.builds("{}={}".format, st.sampled_from(("m", "k", "w", "f", "keep", "gate", "x", "")), number | nasty),
        max_size=3,
    ).map(",".join),
    st.sampled_from(("", "", "+", "+tgate:m=1", "@12345678", ".json")),
)  # fmt: skip
value = text | number | listed | plan

_leaf = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | text
    | st.sampled_from((0, -1, 10**9, "", [], {}))
)  # fmt: skip
json_value = st.recursive(
    _leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3), max_leaves=6
)  # fmt: skip
"""Anything that JSON can say, and NaN and Infinity, which Python's own reader takes."""


def places(document, path=()):
    """Every place in a JSON document, as keys and numbers from its top."""
    yield path
    items = document.items() if isinstance(document, dict) else enumerate(document)
    if isinstance(document, dict | list):
        for key, item in items:
            yield from (
                places(item, (*path, key)) if isinstance(item, dict | list) else [(*path, key)]
            )


def changed(document, path, new):
    """A document with something else at a place; ``...`` takes the place out."""
    if not path:
        return None if new is ... else new
    document = json.loads(json.dumps(document))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    if new is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    return document


def spoiled(document):
    """A strategy: the document with one to three of its places changed or taken out."""

    @st.composite
    def spoil(draw):
        made = document
        for _ in range(draw(st.integers(1, 3))):
            where = draw(st.sampled_from(list(places(made))))
            made = changed(made, where, draw(json_value | st.just(...)))
            if not isinstance(made, dict | list):
                break
        return made

    return spoil()


@st.composite
def damaged(draw, content):
    """The bytes of a file: cut off, with bytes changed, doubled, emptied or of another kind."""
    kind = draw(st.sampled_from(("cut", "cut", "flip", "empty", "text", "twice", "zeros")))
    if kind == "cut":
        return content[: draw(st.integers(0, max(len(content) - 1, 0)))]
    if kind == "flip":
        made = bytearray(content)
        for _ in range(draw(st.integers(1, 8))):
            if made:
                made[draw(st.integers(0, len(made) - 1))] = draw(st.integers(0, 255))
        return bytes(made)
    others = {
        "empty": b"",
        "text": b"dear reader\n",
        "twice": content * 2,
        "zeros": bytes(len(content)),
    }
    return others[kind]
