import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from attnscope import plots
from attnscope.figures import convergence as figures


def records(prompts=3, steps=5):
    """A table as ``attnscope convergence`` writes it, with known values."""
    rows = []
    for prompt in range(prompts):
        for branch in ("uncond", "cond"):
            for kind, site in (("cross", "down_blocks.0.attn2"), ("self", "mid_block.attn1")):
                for step in range(1, steps):
                    l2 = (10 if kind == "self" else 1) * (prompt + 1) / step
                    rows.append((prompt, 0, branch, step, 1000 - step, site, kind,
                                 site.split(".attn")[0], l2, l2, l2 / 10, l2 / 100))  # fmt: skip
    columns = ["prompt_id", "image", "branch", "step", "timestep", "site", "kind", "block",
               "l2", "rms", "relative", "cosine"]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    return table.astype(dict.fromkeys(["branch", "site", "kind", "block"], "category"))


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def lines(ax):
    return {line.get_color(): line.get_ydata() for line in ax.get_lines() if len(line.get_ydata())}


def test_the_line_is_the_mean_over_prompts_and_the_band_their_deviation():
    table = records()
    ax = plots.convergence(table, ax=plt.subplots()[1])
    drawn = lines(ax)
    for kind, color in (("cross", "#0173b2"), ("self", "#de8f05")):
        scale = 10 if kind == "self" else 1
        np.testing.assert_allclose(drawn[color], [2 * scale / step for step in range(1, 5)])
    lows, highs = zip(*[
        (band.get_paths()[0].vertices[:, 1].min(), band.get_paths()[0].vertices[:, 1].max())
        for band in ax.collections
    ], strict=True)  # fmt: skip
    deviation = np.std([1, 2, 3], ddof=1)
    assert max(highs) == pytest.approx(10 * (2 + deviation))
    assert min(lows) == pytest.approx((2 - deviation) / 4)


def test_sites_are_averaged_before_the_spread_is_taken():
    """Two sites of very different size must not widen the band."""
    table = records().query("kind == 'cross'")
    table = pd.concat([table.assign(prompt_id=i, l2=1 / table["step"]) for i in range(3)])
    twice = pd.concat([table, table.assign(site="x", l2=table["l2"] * 5)])
    ax = plots.convergence(twice, ax=plt.subplots()[1])
    assert lines(ax)["#0173b2"][0] == pytest.approx(3)
    (band,) = ax.collections
    assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(3)


def test_plots_draw_into_the_axes_they_are_given():
    table = records()
    for draw in (
        plots.convergence,
        plots.convergence_heatmap,
        lambda t, ax: plots.convergence_by_site(t, "mid_block.attn1", ax=ax),
        lambda t, ax: plots.noise_mean(t.assign(mean=t["l2"]), ax=ax),
    ):
        ax = plt.subplots()[1]
        assert draw(table, ax=ax) is ax
        assert ax.get_xlabel() == "Denoising step"


def test_branches_keep_their_colours():
    ax = plots.convergence_by_site(records(), "mid_block.attn1", ax=plt.subplots()[1])
    assert set(lines(ax)) == {plots.BRANCH_COLORS["uncond"], plots.BRANCH_COLORS["cond"]}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["uncond", "cond"]


def test_the_heatmap_shows_every_site_and_step():
    ax = plots.convergence_heatmap(records(), ax=plt.subplots()[1])
    image = ax.get_images()[0].get_array()
    np.testing.assert_allclose(image[0], [0.2 / step for step in range(1, 5)])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["down 0 attn2", "mid attn1"]


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="no column kind"):
        plots.convergence(records().drop(columns="kind"))
    with pytest.raises(ValueError, match="site 'x' is not in this table"):
        plots.convergence_by_site(records(), "x")


def test_traces_own_records_can_be_drawn():
    table = records().rename(columns={"prompt_id": "sample", "image": "run"})
    assert len(lines(plots.convergence(table, ax=plt.subplots()[1]))) == 2


def test_image_grid_places_every_image():
    images = [np.full((8, 8, 3), value, dtype=np.uint8) for value in (10, 20, 30)]
    canvas = plots.image_grid(images, columns=2, ax=plt.subplots()[1]).get_images()[0].get_array()
    assert canvas[0, 0, 0] == 10
    assert canvas[0, 9, 0] == 20
    assert canvas[9, 0, 0] == 30
    with pytest.raises(ValueError, match="one size"):
        plots.image_grid([])


def test_paper_style_leaves_no_trace():
    before = dict(plt.rcParams)
    with plots.paper_style():
        assert plt.rcParams["pdf.fonttype"] == 42
    assert dict(plt.rcParams) == before


def test_paper_style_leaves_a_notebook_interactive_that_its_first_figure_made_so():
    before = plt.isinteractive()
    try:
        plt.ioff()
        with plots.paper_style():
            plt.ion()  # as the backend of notebooks does with the first figure
        assert plt.isinteractive()
        with pytest.raises(KeyError), plots.paper_style():
            raise KeyError
        assert plt.isinteractive()
    finally:
        plt.interactive(before)


@pytest.mark.parametrize("draw", [figures.figure_2, figures.figure_a3, figures.heatmap])
def test_figures_are_drawn_for_one_kind_and_for_two(draw):
    with plots.paper_style():
        for table in (records(), records().query("kind == 'cross'")):
            figure = draw(table)
            assert any(ax.lines or ax.images for ax in figure.axes)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("down_blocks.0.attentions.1.transformer_blocks.0.attn2", "down 0.1.0 attn2"),
        ("mid_block.attentions.0.transformer_blocks.0.attn1", "mid 0.0 attn1"),
        ("transformer_blocks.12.attn1", "transformer 12 attn1"),
    ],
)
def test_site_names_are_short_on_axes(name, short):
    assert plots.short_site(name) == short


def test_a_plan_is_drawn_as_it_is():
    from attnscope.plans.null_text import NullTextLate
    from attnscope.plans.reuse import TGate

    ax = plots.plan(TGate(4, 2).over(8).table(), ax=plt.subplots()[1])
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["Self-attention", "Cross-attention", "Guidance"]
    assert len(ax.patches) == 3 * 8
    stored = [line.get_xdata().tolist() for line in ax.get_lines()]
    assert stored == [[], [3], []]
    ax = plots.plan(NullTextLate(2).over(4).table(), ax=plt.subplots()[1])
    assert ax.get_yticklabels()[-1].get_text() == "Text"
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["computed", "both branches", "prompt", 'encoding of ""']


def scaled():
    """Cross-attention grows with the tokens and passes everything else at 35 of them."""
    rows = [
        (axis, height, height, tokens, part, macs)
        for axis, height, tokens in (("resolution", 8, 1), ("resolution", 16, 1),
                                     ("tokens", 8, 10), ("tokens", 8, 60))
        for part, macs in (("rest", 20.0), ("self projections", 10.0), ("self products", 5.0),
                           ("cross projections", 0.5 * tokens), ("cross products", 0.5 * tokens))
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["axis", "height", "width", "tokens", "part", "macs"])


def test_scaling_draws_kinds_apart_and_marks_the_crossover():
    ax = plots.cost_scaling(scaled(), ax=plt.subplots()[1])
    drawn = {(line.get_color(), line.get_linestyle()): list(line.get_ydata()) for line in ax.lines}
    assert drawn["#0173b2", "-"] == [10, 60]
    assert drawn["#0173b2", "--"] == [5, 30]
    assert drawn["#de8f05", "-"] == [15, 15]
    assert drawn["#949494", "-"] == [20, 20]
    assert drawn["black", ":"] == [0, 1]
    (mark,) = [line for line in ax.lines if line.get_color() == "black"]
    assert list(mark.get_xdata()) == [pytest.approx(35)] * 2
    assert "35 tokens" in ax.texts[0].get_text()
    (outline,) = ax.texts[0].get_path_effects()
    assert (
        outline._gc["foreground"] == "white"
    )  # curves that pass behind it do not strike it through


def test_scaling_over_the_resolution_has_no_crossover():
    ax = plots.cost_scaling(scaled(), axis="resolution", ax=plt.subplots()[1])
    assert not ax.texts
    assert ax.get_xlabel() == "Height in pixels"
    with pytest.raises(ValueError, match="axis='frames' is not in this table"):
        plots.cost_scaling(scaled(), axis="frames")


def test_attribution_stacks_what_is_saved_on_what_is_computed():
    table = pd.DataFrame(
        [("paper", "guidance cut-off", 0.3), ("paper", "cross-attention reuse", 0.1), ("paper", "all", 0.4),
         ("full", "guidance cut-off", 0.3), ("full", "all", 0.3)],
        columns=["convention", "saving", "of_baseline"],
    )  # fmt: skip
    ax = plots.cost_attribution(table, ax=plt.subplots()[1])
    bars = {
        bar.get_label(): np.array([(patch.get_x(), patch.get_width()) for patch in bar])
        for bar in ax.containers
    }
    np.testing.assert_allclose(bars["still computed"], [(0, 0.6), (0, 0.7)])
    np.testing.assert_allclose(bars["guidance cut-off"], [(0.6, 0.3), (0.7, 0.3)])
    np.testing.assert_allclose(bars["cross-attention reuse"], [(0.9, 0.1), (1, 0)])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["the paper's MACs", "all MACs"]


def test_a_breakdown_stacks_the_parts_of_every_arm():
    rows = [("baseline", "cross", 1.0), ("baseline", "self", 2.0), ("baseline", "other", 5.0),
            ("m=10", "cross", 0.5), ("m=10", "self", 1.0), ("m=10", "other", 2.5)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["arm", "part", "seconds"])
    table["share"] = table["seconds"] / table.groupby("arm")["seconds"].transform("sum")
    ax = plots.time_breakdown(table, ax=plt.figure().add_subplot())
    bars = {container.get_label(): list(container) for container in ax.containers}
    assert list(bars) == ["Cross-attention", "Self-attention", "Rest of the denoiser"]
    rest = bars["Rest of the denoiser"]
    assert [(bar.get_x(), bar.get_width()) for bar in rest] == [(3, 5), (1.5, 2.5)]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["baseline", "m=10"]


def test_what_is_saved_alone_is_stacked_and_the_whole_is_a_diamond():
    rows = [("time", "guidance cut-off", 0.25), ("time", "cross-attention reuse", 0.125),
            ("time", "all together", 0.3), ("MACs", "guidance cut-off", 0.5),
            ("MACs", "cross-attention reuse", 0.0625), ("MACs", "all together", 0.32)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["basis", "saving", "saved"])
    table = table.assign(low=table["saved"] - 0.01, high=table["saved"] + 0.01)
    ax = plots.saved_alone(table, ax=plt.figure().add_subplot())
    cross = [(bar.get_x(), bar.get_width()) for bar in ax.containers[1]]
    assert cross == [(0.25, 0.125), (0.5, 0.0625)]
    diamonds = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "D"]
    assert diamonds == [0.3, 0.32]


def test_the_frontier_has_a_point_for_every_arm_and_a_line_for_the_reference():
    table = pd.DataFrame(
        {"arm": ["baseline", "m=10", "reference"], "measure": "kid", "value": [2.0, 3.0, 0.1],
         "low": [1.5, 2.5, 0.0], "high": [2.5, 3.5, 0.2], "n": 100, "features": "reader",
         "difference": [np.nan, 1.0, -1.9], "difference_low": [np.nan, 0.75, -2.0],
         "difference_high": [np.nan, 1.25, -1.8],
         "speedup": [1.0, 1.5, np.nan], "speedup_low": [1.0, 1.4, np.nan],
         "speedup_high": [1.0, 1.6, np.nan]}
    )  # fmt: skip
    ax = plots.frontier(table, "kid", ax=plt.figure().add_subplot())
    points = {line.get_label(): (line.get_xdata()[0], line.get_ydata()[0])
              for line in ax.lines if line.get_marker() == "o"}  # fmt: skip
    assert points == {"a  baseline": (1.0, 2.0), "b  m=10": (1.5, 3.0)}
    assert [text.get_text() for text in ax.texts] == ["a", "b"]
    along = [list(line.get_ydata()) for line in ax.lines if list(line.get_xdata()) == [1.5, 1.5]]
    assert along == [[2.75, 3.25]]  # of the difference, around the value
    unpaired = plots.frontier(
        table.assign(difference_low=np.nan), "kid", ax=plt.figure().add_subplot()
    )
    ends = [
        list(line.get_ydata()) for line in unpaired.lines if list(line.get_xdata()) == [1.5, 1.5]
    ]
    assert ends == [[2.5, 3.5]]
    with pytest.raises(ValueError, match="different features or counts"):
        plots.frontier(table.assign(n=[100, 50, 100]), "kid", ax=ax)


def traced(steps=5, run=0):
    """Records of ``Trace.records()``: one run of so many steps."""
    table = records(steps=steps).rename(columns={"prompt_id": "sample"}).drop(columns="image")
    return table.assign(run=run, timestep=(1000 - table["step"] * (1000 // steps)))


def predicted(branches=("uncond", "cond", "guided"), **columns):
    rows = [(0, sample, branch, step, float(step)) for sample in range(3) for branch in branches
            for step in range(4)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["run", "sample", "branch", "step", "mean"])
    return table.assign(**columns)


def averaged(**columns):
    table = predicted(("guided",)).drop_duplicates("step").assign(
        mean_sd=0.1, arm="S", trajectory="S", model="a", seed=0
    )  # fmt: skip
    return table.assign(**columns)


def measured(**columns):
    rows = [("S", "S", pd.NA, 1.0), ("S^F m=5", "S^F", 5, 0.9), ("S^F m=10", "S^F", 10, 0.8),
            ("S^L m=5", "S^L", 5, 0.4)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["arm", "trajectory", "gate", "value"])
    return table.assign(measure="all", low=0.1, high=1.2, features="", n=100, model="a", scheduler="dpm",
                        steps=25, noise_scale=1.0, seed=0, interval=5, difference=0.0,
                        difference_low=-0.1, difference_high=0.1, speedup=1.0, speedup_low=0.9,
                        speedup_high=1.1).assign(**columns)  # fmt: skip


def saved(**columns):
    rows = [("guidance cut-off", 0.3), ("cross-attention reuse", 0.1), ("all", 0.4)]
    table = pd.DataFrame(rows, columns=["saving", "of_baseline"])
    return table.assign(convention="full", basis="time", saved=table["of_baseline"], low=0.1, high=0.5,
                        model="a").assign(**columns)  # fmt: skip


def timed(**columns):
    rows = [("baseline", "cross", 1.0), ("baseline", "other", 2.0)]
    table = pd.DataFrame(rows, columns=["arm", "part", "seconds"])
    return table.assign(share=0.5, model="a").assign(**columns)


def scheduled(m=4):
    from attnscope.plans.reuse import TGate

    return TGate(m, 2).over(8).table()


def both(make, **columns):
    """Two tables put together: the second differs in a column."""
    return pd.concat([make(), make(**columns)], ignore_index=True)


MIXED = {
    "25 and 10 steps": (plots.convergence, lambda: pd.concat([traced(25), traced(10, run=1)]),
                        "numbers of steps"),
    "of one run number": (plots.convergence, lambda: pd.concat([traced(25), traced(10)]), "steps"),
    "schedulers": (plots.convergence,
                   lambda: pd.concat([traced(), traced(run=1).assign(timestep=lambda t: t["timestep"] + 3)]),
                   "different schedulers"),
    "models": (plots.convergence, lambda: pd.concat([traced().assign(model=m) for m in "ab"]),
               "model has 2 values"),
    "models by another name": (plots.convergence,
                               lambda: pd.concat([traced(), traced().assign(l2=lambda t: t["l2"] * 2)]),
                               "tables of several runs"),
    "gates": (plots.convergence,
              lambda: pd.concat([traced(run=g).assign(gate=g) for g in (5, 10)]), "gate has 2 values"),
    "a dropped branch": (plots.convergence,
                         lambda: traced().query("branch == 'uncond' or step < 3"), "hue='branch'"),
    "site, steps": (lambda t: plots.convergence_by_site(t, "mid_block.attn1"),
                    lambda: pd.concat([traced(25), traced(10, run=1)]), "numbers of steps"),
    "heat map, steps": (plots.convergence_heatmap, lambda: pd.concat([traced(25), traced(10, run=1)]),
                        "numbers of steps"),
    "controls, arms": (lambda t: plots.controls(t, value="l2"),
                       lambda: pd.concat([traced(run=i).assign(arm=a) for i, a in enumerate("ab")]),
                       "arm has 2 values"),
    "controls, measures": (lambda t: plots.controls(t, value="l2"),
                           lambda: pd.concat([traced(run=i).assign(measure=a) for i, a in enumerate("ab")]),
                           "measure has 2 values"),
    "noise, branches": (lambda t: plots.noise_mean(t, hue="run"), predicted, "branch has 3 values"),
    "noise, arms": (plots.noise_mean, lambda: both(predicted, arm="other", run=1).fillna("S"),
                    "arm has 2 values"),
    "averaged noise, arms": (plots.noise_mean, lambda: both(averaged, arm="S^F m=5", trajectory="S^F"),
                             "arm has 2 values"),
    "averaged noise, seeds": (lambda t: plots.noise_mean(t, hue="arm"), lambda: both(averaged, seed=1),
                              "seed has 2 values"),
    "averaged noise, branches": (lambda t: plots.noise_mean(t, hue="arm"),
                                 lambda: both(averaged, branch="cond"), "branch has 2 values"),
    **{
        f"{name}, {column}": (draw, lambda column=column, value=value: both(measured, **{column: value}),
                              f"{column} has 2 values")
        for name, draw in (("by_arm", lambda t: plots.by_arm(t, "all")),
                           ("by_gate", lambda t: plots.by_gate(t, "all")),
                           ("frontier", lambda t: plots.frontier(t, "all")))
        for column, value in (("model", "b"), ("scheduler", "ddim"), ("steps", 10), ("noise_scale", 4.0),
                              ("seed", 1))
    },
    "by_gate, intervals": (lambda t: plots.by_gate(t, "all"), lambda: both(measured, interval=3),
                           "interval has 2 values"),
    "cost, models": (plots.cost_attribution, lambda: both(saved, model="b"), "model has 2 values"),
    "scaling, models": (plots.cost_scaling, lambda: pd.concat([scaled(), scaled()]), "several runs"),
    "breakdown, models": (plots.time_breakdown, lambda: both(timed, model="b"), "model has 2 values"),
    "saved alone, models": (plots.saved_alone, lambda: both(saved, model="b"), "model has 2 values"),
    "plans": (plots.plan, lambda: pd.concat([scheduled(4), scheduled(6)]), "several runs"),
}  # fmt: skip


@pytest.mark.parametrize(("draw", "make", "message"), MIXED.values(), ids=MIXED)
def test_what_is_not_to_be_averaged_is_refused(draw, make, message):
    with pytest.raises(ValueError, match=message):
        draw(make())


def test_what_a_hue_parts_is_drawn():
    table = pd.concat([traced(25), traced(10, run=1)])
    ax = plots.convergence(table[table["kind"] == "cross"], hue="run", ax=plt.subplots()[1])
    assert [len(line.get_xdata()) for line in ax.lines] == [24, 9]
    dropped = traced().query("branch == 'uncond' or step < 3")
    ax = plots.convergence(dropped, hue="branch", ax=plt.subplots()[1])
    assert [len(line.get_xdata()) for line in ax.lines] == [4, 2]
    gates = pd.concat([traced(run=g).assign(gate=pd.array([g] * 48, "Int64")) for g in (5, 10)])
    gates.loc[gates["run"] == 10, "gate"] = pd.NA
    ax = plots.convergence(gates, hue="gate", ax=plt.subplots()[1])
    assert [line.get_label() for line in ax.lines] == ["5", "none"]


def test_seeds_are_further_images():
    """The mean over seeds is a mean over images, and so is the band."""
    first = records().assign(seed=1)
    second = records().assign(seed=2, l2=lambda t: t["l2"] * 3)
    ax = plots.convergence(pd.concat([first, second]), ax=plt.subplots()[1])
    assert lines(ax)["#0173b2"][0] == pytest.approx(2 * 2)
    top = ax.collections[0].get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx(4 + np.std([1, 2, 3, 3, 6, 9], ddof=1))


DRAWN = {
    "convergence": (plots.convergence, records),
    "convergence_by_site": (lambda t, ax: plots.convergence_by_site(t, "mid_block.attn1", ax=ax), records),
    "convergence_heatmap": (plots.convergence_heatmap, records),
    "controls": (lambda t, ax: plots.controls(t, value="l2", ax=ax), records),
    "noise_mean": (plots.noise_mean, predicted),
    "noise_mean of arms": (lambda t, ax: plots.noise_mean(t, hue="arm", ax=ax), averaged),
    "by_arm": (lambda t, ax: plots.by_arm(t, "all", ax=ax), measured),
    "by_gate": (lambda t, ax: plots.by_gate(t, "all", ax=ax), measured),
    "frontier": (lambda t, ax: plots.frontier(t, "all", ax=ax), measured),
    "cost_attribution": (plots.cost_attribution, saved),
    "cost_scaling": (plots.cost_scaling, scaled),
    "time_breakdown": (plots.time_breakdown, timed),
    "saved_alone": (plots.saved_alone, saved),
    "plan": (plots.plan, scheduled),
}  # fmt: skip
_OWN_THEIR_AXES = {"convergence_heatmap", "by_arm", "frontier", "cost_attribution", "cost_scaling",
                   "time_breakdown", "saved_alone", "plan"}  # fmt: skip


def shown(ax):
    """How many of everything an axes and its figure show."""
    return (len(ax.figure.axes), len(ax.lines), len(ax.patches), len(ax.texts), len(ax.images),
            len(ax.collections), len(ax.containers))  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_a_second_call_on_the_same_axes_doubles_nothing(name):
    draw, make = DRAWN[name]
    ax = plt.subplots()[1]
    ax.set_title("mine", loc="left")
    draw(make(), ax=ax)
    once = shown(ax)
    names = ax.get_legend_handles_labels()[1]
    draw(make(), ax=ax)
    if name in _OWN_THEIR_AXES:
        assert shown(ax) == once
    if ax.get_legend() is not None:
        texts = [text.get_text() for text in ax.get_legend().get_texts()]
        assert len(texts) == len(set(texts))
        assert set(names) <= set(texts)
    assert ax.get_title(loc="left") == "mine"
    ax.figure.draw_without_rendering()


def test_images_drawn_again_take_the_place_of_those_before():
    ax = plt.subplots()[1]
    for _ in range(2):
        plots.image_grid([np.zeros((8, 8, 3), np.uint8)] * 2, titles=["a", "b"], ax=ax)
    assert (len(ax.images), len(ax.texts)) == (1, 2)
    with pytest.raises(ValueError, match="a title for each"):
        plots.image_grid([np.zeros((8, 8, 3), np.uint8)] * 2, titles=["a"], ax=ax)


@pytest.mark.parametrize("name", DRAWN)
def test_a_table_without_rows_is_refused(name):
    draw, make = DRAWN[name]
    with pytest.raises(ValueError, match="no rows"):
        draw(make().head(0), ax=plt.subplots()[1])


@pytest.mark.parametrize("name", DRAWN)
def test_every_missing_column_is_named(name):
    draw, _ = DRAWN[name]
    with pytest.raises(ValueError, match=r"the table has no column .* \(it has x\)"):
        draw(pd.DataFrame({"x": [1]}), ax=plt.subplots()[1])


def test_words_and_missing_values_are_no_numbers():
    with pytest.raises(ValueError, match="column block holds category, not numbers"):
        plots.convergence(records(), metric="block")
    with pytest.raises(ValueError, match="column l2 holds no value"):
        plots.convergence(records().assign(l2=np.nan))
    with pytest.raises(ValueError, match="l2 is zero throughout"):
        plots.controls(records().assign(l2=0.0), value="l2")


def test_parts_that_cannot_be_stacked_are_refused():
    with pytest.raises(ValueError, match="token merging: no such part"):
        plots.cost_attribution(saved(saving=["guidance cut-off", "token merging", "all"]))
    with pytest.raises(ValueError, match="do not come to what is saved"):
        plots.cost_attribution(saved(of_baseline=[0.5, -0.1, 0.4]))
    with pytest.raises(ValueError, match="do not come to what is saved"):
        plots.cost_attribution(saved(of_baseline=[0.3, 0.3, 0.4]))
    with pytest.raises(ValueError, match="needs the row 'all'"):
        plots.cost_attribution(saved().query("saving != 'all'"))
    with pytest.raises(ValueError, match="norms: no such part"):
        plots.time_breakdown(timed(part=["cross", "norms"]))
    with pytest.raises(ValueError, match="less than no seconds"):
        plots.time_breakdown(timed(seconds=[1.0, -0.5]))
    with pytest.raises(ValueError, match="arms lacks S"):
        plots.by_arm(measured(), "all", arms=["S^F m=5"])
    with pytest.raises(ValueError, match="what='skip'"):
        plots.plan(scheduled().replace("reuse", "skip"))


def band(ax):
    """Ends of the first band at every step: ``[steps, 2]``."""
    points = ax.collections[0].get_paths()[0].vertices
    return np.array(
        [[points[points[:, 0] == x, 1].min(), points[points[:, 0] == x, 1].max()] for x in np.unique(points[:, 0])]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("errorbar", "ends"),
    [
        ("sd", lambda v: v.mean() + np.array([-1, 1]) * v.std(ddof=1)),
        (("pi", 50), lambda v: np.quantile(v, [0.25, 0.75])),
        (lambda v: (v.min(), v.max()), lambda v: np.array([v.min(), v.max()])),
    ],
)
def test_bands_are_what_errorbar_says(errorbar, ends):
    table = records().query("kind == 'cross'")
    ax = plots.convergence(table, errorbar=errorbar)
    means = table.groupby([*plots.tidy.units(table), "step"])["l2"].mean()
    expected = [ends(group.to_numpy()) for _, group in means.groupby("step")]
    np.testing.assert_allclose(band(ax), expected, rtol=1e-6)


def test_lines_take_the_colours_of_a_palette_and_miss_none():
    for palette in (["red", "blue"], {"self": "red", "cross": "blue"}):
        ax = plots.convergence(records(), palette=palette, errorbar=None, ax=plt.figure().gca())
        assert {to_hex(line.get_color()) for line in ax.lines} == {"#ff0000", "#0000ff"}
        assert not ax.collections
    with pytest.raises(ValueError, match="palette lacks 'cross'"):
        plots.convergence(records(), palette={"self": "red"})


def test_a_site_is_drawn_by_its_short_name_too():
    ax = plots.convergence_by_site(records(), "down 0 attn2")
    assert ax.get_title() == "down 0 attn2"
    alike = records().assign(site=lambda t: t["site"].astype(str))
    alike.loc[alike["kind"] == "self", "site"] = "down_block.0.attn2"
    with pytest.raises(
        ValueError, match=r"is the short name of down_blocks\.0\.attn2, down_block\.0\.attn2"
    ):
        plots.convergence_by_site(alike, "down 0 attn2")
