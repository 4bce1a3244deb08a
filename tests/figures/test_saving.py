"""Writing figures: whole files, and nothing on stderr."""

import logging

import matplotlib.pyplot as plt

from attnscope.figures.saving import save
from attnscope.plots.tuning import DAMAGE


def test_a_font_without_a_date_is_embedded_without_a_word(tmp_path, caplog):
    def draw():
        figure, ax = plt.subplots()
        ax.set_title(DAMAGE)  # with a prime
        return figure

    with caplog.at_level(logging.WARNING):
        save(draw, tmp_path / "figure.pdf", tmp_path / "figure.png")
        assert caplog.messages == []
        heads = logging.getLogger("fontTools.ttLib.tables._h_e_a_d")
        heads.warning("'created' timestamp seems very low; regarding as unix timestamp")
    assert len(caplog.messages) == 1  # where others read fonts, it is said
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
