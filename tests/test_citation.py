from pathlib import Path

import yaml

import attnscope

ROOT = Path(__file__).parent.parent


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == attnscope.__version__
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
