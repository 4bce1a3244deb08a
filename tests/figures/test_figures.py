"""Every figure as a reader of a paper sees it: in one column, in grey, without red and green."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import test_controls
import test_plots
from matplotlib.text import Text
from PIL import Image
from vision import nearest

from attnscope import plots
from attnscope.figures import ablation, bench, controls, convergence, cost, generation, schedule
from attnscope.plots import costs, curves, style, times

SMALLEST = 6.0  # points, where the figure stands in a column of 3.25 inches
COLUMN = 3.25
FAR = 18.0  # in CIELAB; the eleven hues of before came to 3.2


@pytest.fixture(autouse=True)
def paper():
    with plots.paper_style():
        yield
    plt.close("all")


def about(name, trajectory, gate=None, interval=None, **cell):
    cell = {
        "model": "shapes",
        "scheduler": "dpm",
        "steps": 25,
        "noise_scale": 1.0,
        "seed": 0,
    } | cell
    return cell | {"arm": name, "key": name, "trajectory": trajectory, "gate": gate,
                   "interval": interval, "reused_steps": 0}  # fmt: skip


ARMS = [("S", "S", None, None), ("gate m=10", "gate", 10, None)] + [
    (f"{trajectory} m=10 k={k}", trajectory, 10, k)
    for k in (3, 5)
    for trajectory in ("S^F", "S^L", "S^F+gate", "S^L+gate")
]


def typed(rows):
    return pd.DataFrame(rows).astype({"gate": "Int64", "interval": "Int64"})


def noise(arms=ARMS, steps=25):
    return typed(
        about(*arm) | {"branch": "guided", "step": step, "timestep": 999 - step, "log_snr": 0.1 * step,
                       "mean": 0.01 * place, "norm": 30.0 + place + step, "rms": 1.0,
                       "mean_sd": 0.1, "norm_sd": 1.0, "rms_sd": 0.1}
        for place, arm in enumerate(arms) for step in range(steps)
    )  # fmt: skip


def measured(arms=ARMS, measures=("fid", "kid", "all", "ssim", "size"), **cell):
    rows = []
    for place, arm in enumerate([*arms, ("reference", "reference", None, None)]):
        for measure in measures:
            of_set = measure in ("fid", "kid")
            value = 0.4 + 0.01 * place
            rows.append(
                about(*arm, **cell)
                | {"measure": measure, "value": value, "low": value - 0.1, "high": value + 0.1,
                   "n": 100, "difference": value - 0.4, "difference_low": value - 0.5,
                   "difference_high": value - 0.3, "spread": "bootstrap",
                   "features": "reader, 64 x 64, not resized" if of_set else "", "reference": "",
                   "log_snr": 0.3 * (arm[2] or 0) - 3}
            )  # fmt: skip
    return typed(rows)


def swept():
    arms = [("S", "S", None, None)]
    arms += [(f"{t} m={m}", t, m, None) for m in (1, 2, 5, 10, 20) for t in ("S^F", "S^L")]
    return pd.concat([measured(arms, noise_scale=scale) for scale in (1.0, 4.0)])


def pictures(folder, columns=("step",)):
    path = folder / "image.png"
    Image.fromarray(np.full((16, 16, 3), 120, np.uint8)).save(path)
    caption = "a large striped red circle above a small blue square on a gray background"
    return typed(
        about(*arm) | {"prompt_id": prompt, "frame": 0, "step": step, "path": str(path), "text": caption}
        for arm in ARMS for prompt in range(10) for step in (0, 5, 10, 24)[: 4 if "step" in columns else 1]
    )  # fmt: skip


def generated(folder):
    table = pictures(folder, ()).query("arm == 'S'").assign(psnr=31.4, ssim=0.98)
    return pd.concat([table.assign(arm=arm) for arm in ("plan", "baseline")])


def timetable(each):
    """A plan over so many resnets, and as much attention, of every stage, no two of which are alike."""
    from attnscope.plans.timetable import Timetable

    names = [("resnet", f"{stage}.resnets.{n}") for stage in STAGES for n in range(each)]
    names += [("cross", f"{stage}.attentions.{n}.transformer_blocks.0.attn2")
              for stage in STAGES for n in range(each)]  # fmt: skip
    rng = np.random.default_rng(0)
    rows = tuple((kind, name, "#" + "".join(rng.choice([*"#.~"], 24))) for kind, name in names)
    levels = tuple(np.linspace(-9, 6, 25))
    return Timetable(levels, rows, "b" * 10 + "c" * 15, (0.0,) * 10 + (0.5,) * 15).over(25).table()


STAGES = ("down_blocks.0", "down_blocks.1", "mid_block", "up_blocks.0", "up_blocks.1")

BENCH = ["baseline", "tgate:m=10,k=5,w=2,f=1", "guidance alone", "cross alone", "self alone",
         "guidance-cutoff:m=10,keep=cond", "tgate", "DeepCache", "ToMe", "T-GATE with DeepCache",
         "T-GATE with ToMe"]  # fmt: skip


def parts():
    return pd.DataFrame(
        [(arm, part, seconds + 0.1 * place, 0.2) for place, arm in enumerate(BENCH)
         for part, seconds in (("cross", 1.0), ("self", 2.0), ("joint", 0.5), ("other", 5.0), ("outside", 1.0))],
        columns=["arm", "part", "seconds", "share"],
    )  # fmt: skip


def saved():
    rows = [("time", "guidance cut-off", 0.254, 0.247, 0.296),
            ("time", "cross-attention reuse", 0.128, 0.119, 0.184),
            ("time", "self-attention reuse", -0.009, -0.056, 0.087),
            ("time", "all together", 0.364, 0.349, 0.457),
            ("MACs", "guidance cut-off", 0.312, 0.312, 0.312),
            ("MACs", "cross-attention reuse", 0.125, 0.125, 0.125),
            ("MACs", "self-attention reuse", 0.035, 0.035, 0.035),
            ("MACs", "all together", 0.411, 0.411, 0.411)]  # fmt: skip
    return pd.DataFrame(rows, columns=["basis", "saving", "saved", "low", "high"])


def frontier(n=200):
    """Speeds and qualities that lie upon each other, as they do."""
    rows = []
    speeds = [1, 1.36, 1.23, 1.07, 1.03, 1.2, 1.36, 1.94, 0.93, 2.33, 1.26]
    for measure in ("all", "kid", "ssim"):
        for arm, speed, value in zip(BENCH, speeds, [0.48, 0.42, 0.42, 0.47, 0.46, 0.45, 0.42, 0.43,
                                                     0.475, 0.335, 0.41], strict=True):  # fmt: skip
            unknown = n < 20 or arm == "baseline"
            rows.append(
                {"arm": arm, "measure": measure, "value": value, "low": value - 0.05,
                 "high": value + 0.05, "n": n, "reference": "",
                 "features": "reader, x" if measure == "kid" else "",
                 "difference": np.nan if arm == "baseline" else value - 0.48,
                 "difference_low": np.nan if unknown else value - 0.5,
                 "difference_high": np.nan if unknown else value - 0.46,
                 "speedup": speed, "speedup_low": speed - 0.2, "speedup_high": speed + 0.3}
            )  # fmt: skip
    kid = {"measure": "kid", "value": 0.1, "n": n, "features": "reader, x", "arm": "reference"}
    return pd.concat([pd.DataFrame(rows), pd.DataFrame([kid])], ignore_index=True)


FOUND = [
    f"/a/long/way/to/the/run/plan-ssim-{bound}.json@0123abcd" for bound in ("0.99", "0.97", "0.9")
]


def proven():
    """A frontier with plans that were found, one set by hand, and fewer steps."""
    table = frontier()
    arms = dict(
        zip(BENCH[1:7], [*FOUND, "/a/uniform.json@0123abcd", "12 steps", "9 steps"], strict=True)
    )
    return table.assign(arm=table["arm"].replace(arms))


def scaled():
    return test_plots.scaled().assign(
        **{name: lambda t, name=name: t[name] * 48 for name in ("height", "width")},
        tokens=lambda t: t["tokens"] * 700, macs=lambda t: t["macs"] * 1e9,
    )  # fmt: skip


def savings():
    rows = [(model, saving, part)
            for model in ("SD-1.5", "PixArt", "OpenSora")
            for saving, part in (("guidance cut-off", 0.3), ("cross-attention reuse", 0.1),
                                 ("self-attention reuse", 0.1), ("all", 0.5))]  # fmt: skip
    return pd.DataFrame(rows, columns=["model", "saving", "of_baseline"])


def moving(prompts=3, steps=25):
    """Records of seven sites of two kinds, as the model in the box has."""
    table = test_plots.records(prompts, steps)
    each = [table.assign(site=table["site"].astype(str) + str(i)) for i in range(7)]
    return pd.concat(each, ignore_index=True)


def drawn(name, folder):
    from attnscope.plans.reuse import TGate

    figures = {
        "figure2": lambda: convergence.figure_2(moving()),
        "figureA3": lambda: convergence.figure_a3(moving()),
        "heatmap": lambda: convergence.heatmap(moving()),
        "controls": lambda: controls.figure_controls(test_controls.made(steps=25)),
        "arms": lambda: ablation.arms(measured()),
        "gates": lambda: ablation.gates(swept()),
        "decided": lambda: ablation.decided(swept()),
        "noise": lambda: ablation.noise(noise()),
        "pictures": lambda: ablation.pictures(pictures(folder)),
        "ablation samples": lambda: ablation.samples(pictures(folder, ())),
        "samples": lambda: generation.samples(generated(folder)),
        "comparison": lambda: generation.comparison(generated(folder)),
        "breakdown": lambda: bench.breakdown(parts()),
        "attribution": lambda: bench.attribution(saved()),
        "frontier": lambda: bench.frontier(frontier()),
        "fronts": lambda: bench.fronts(proven()),
        "savings": lambda: cost.attribution(savings(), by="model"),
        "scaling": lambda: cost.scaling(scaled(), title="SD-2.1"),
        "plan": lambda: schedule.schedule(TGate(10, 5).over(25).table()),
        "few modules": lambda: schedule.schedule(timetable(1)),
        "modules": lambda: schedule.schedule(timetable(6)),
        "many modules": lambda: schedule.schedule(timetable(16)),
    }
    figure = figures[name]()
    figure.draw_without_rendering()
    return figure


NAMES = ["figure2", "figureA3", "heatmap", "controls", "arms", "gates", "decided", "noise", "pictures",
         "ablation samples", "samples", "comparison", "breakdown", "attribution", "frontier", "fronts", "savings",
         "scaling", "plan", "few modules", "modules", "many modules"]  # fmt: skip


def texts(figure):
    return [
        text for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text.get_window_extent().width > 0
    ]  # fmt: skip


def said(figure):
    return " ".join(text.get_text() for text in texts(figure))


@pytest.mark.parametrize("name", NAMES)
def test_text_can_be_read_in_one_column_and_stays_inside(name, tmp_path):
    figure = drawn(name, tmp_path)
    scale = COLUMN / figure.get_figwidth()
    sizes = {text.get_text(): text.get_fontsize() * scale for text in texts(figure)}
    assert min(sizes.values()) >= SMALLEST - 1e-6, min(sizes, key=sizes.get)
    assert figure.get_figheight() * scale < 9  # a column of a page
    inside = figure.bbox.padded(1.5)
    shown = [text for text in texts(figure) if text.get_window_extent().y1 > 0]
    for text in shown:
        box = text.get_window_extent()
        if text in {
            label for ax in figure.axes for label in ax.get_xticklabels() + ax.get_yticklabels()
        }:
            continue  # matplotlib makes labels beyond the ends, which it does not draw
        assert inside.x0 <= box.x0, text.get_text()
        assert box.x1 <= inside.x1, text.get_text()


def overlapping(boxes):
    boxes = [box.padded(-0.5) for box in boxes]
    return [(a, b) for a, b in combinations(boxes, 2) if a.overlaps(b)]


@pytest.mark.parametrize("name", NAMES)
def test_labels_titles_and_legends_do_not_lie_on_each_other(name, tmp_path):
    figure = drawn(name, tmp_path)
    found = [ax.get_legend() for ax in figure.axes] + list(figure.legends)
    boxes = [legend.get_window_extent() for legend in found if legend is not None]
    for ax in figure.axes:
        labels = [ax.title, ax._left_title, ax._right_title, ax.xaxis.label, ax.yaxis.label]
        if ax.get_visible() and ax.axison:
            boxes += [label.get_window_extent() for label in labels if label.get_text()]
    boxes += [
        text.get_window_extent()
        for text in (figure._suptitle, figure._supxlabel)
        if text is not None
    ]
    assert not overlapping(boxes)


@pytest.mark.parametrize("count", [2, 11, 26])
def test_letters_of_the_frontier_do_not_hide_each_other(count):
    table = frontier()
    table = pd.concat([table.query("arm == 'tgate'").assign(arm=f"arm {i}") for i in range(count)])
    figure = bench.frontier(table)
    for ax in figure.axes:
        boxes = [Text.get_window_extent(text) for text in ax.texts]
        assert len(boxes) == count
        assert not overlapping(boxes)
    letters = [text.get_text() for text in figure.axes[0].texts]
    assert len(set(letters)) == count


def test_the_frontier_says_what_its_bars_are_and_names_its_baseline():
    figure = bench.frontier(frontier())
    assert [ax.get_title(loc="right") for ax in figure.axes] == [
        "along: 95 % interval of the difference to the baseline"
    ] * 3
    figure = bench.frontier(frontier(n=10))
    assert [ax.get_title(loc="right") for ax in figure.axes] == [
        "along: 95 % interval of the value (no difference is tested)"
    ] * 3
    assert "SSIM to the baseline" in said(figure)
    assert "to S" not in said(figure)


def test_the_frontier_tells_the_package_of_the_authors_from_the_plan():
    told = said(bench.frontier(frontier())).replace("\n", " ")
    assert "tgate (authors' package)" in told
    assert "tgate:m=10,k=5,w=2,f=1" in told


def test_an_arm_without_a_time_is_no_reference():
    table = frontier()
    table.loc[table["arm"] == "ToMe", ["speedup", "speedup_low", "speedup_high"]] = np.nan
    figure = bench.frontier(table)
    assert not any(line.get_label() == "ToMe" for line in figure.axes[0].lines)
    assert "ToMe (not timed, not drawn)" in said(figure).replace("\n", " ")


def test_plans_and_fewer_steps_are_lines_and_all_else_has_the_same_mark_in_every_panel():
    table = proven()
    top, bottom = bench.fronts(table).axes
    marks = []
    for ax in (top, bottom):
        lines = {line.get_label(): line for line in ax.get_lines()}
        assert len(lines["plans that were found"].get_xdata()) == 3
        assert list(lines["fewer steps"].get_xdata()) == [1.2, 1.36]
        assert len(lines["by hand"].get_xdata()) == 1
        marks.append({name: line.get_marker() for name, line in lines.items()})
    assert marks[0] == marks[1]
    assert len(set(marks[0].values())) == len(marks[0])
    assert bench.fronts(table[table["arm"] != FOUND[0]]) is None


def test_plans_are_called_by_their_files_where_no_two_have_the_same_name():
    assert "plan-ssim-0.9.json" in said(bench.frontier(proven())).split()
    names = bench._names(["/a/plan.json@0123abcd", "/b/plan.json@0123abcd", "/b/other.json"])
    assert names["/a/plan.json@0123abcd"] == "/a/plan.json@0123abcd"
    assert names["/b/other.json"] == "other.json"


def test_every_arm_of_the_frontier_has_its_own_colour_and_marker():
    ax = plots.frontier(frontier(), "all")
    points = [line for line in ax.lines if line.get_label()[:1] != "_"]
    assert len(points) == 11
    assert len({(line.get_color(), line.get_marker()) for line in points}) == 11


def looks_of(ax):
    return {
        line.get_label(): (line.get_color(), str(line._unscaled_dash_pattern), line.get_marker(),
                           line.get_markerfacecolor())
        for line in ax.lines if line.get_label()[:1] != "_" and len(line.get_xdata()) > 2
    }  # fmt: skip


def test_the_noise_figure_has_every_arm_in_a_look_of_its_own():
    figure = ablation.noise(noise())
    for ax in figure.axes:
        found = looks_of(ax)
        assert list(found) == [plots.math_name(name) for name, *_ in ARMS]
        assert len(set(found.values())) == len(ARMS)
    (legend,) = figure.legends
    assert len(legend.get_texts()) == len(ARMS)


def test_arms_that_the_noise_figure_has_no_room_for_are_named():
    arms = [(f"S^F m={m}", "S^F", m, None) for m in range(1, 21)]
    figure = ablation.noise(noise(arms, steps=4))
    shown = set(looks_of(figure.axes[0]))
    assert len(set(looks_of(figure.axes[0]).values())) == len(shown)
    told = said(figure).split("not drawn: ")[1].replace("\n", " ").split(" $S$")[0]
    left_out = [name for name, *_ in arms if plots.math_name(name) not in shown]
    assert len(shown) == plots.MOST_ARMS
    assert left_out
    assert told.startswith(", ".join(left_out))


def test_what_is_left_of_prompts_sites_and_combinations_is_said(tmp_path):
    assert "8 of 14 sites" in said(drawn("figureA3", tmp_path))
    assert "the first 8 of 10 prompts" in said(drawn("ablation samples", tmp_path))
    assert "the first 8 of 10 prompts" in said(drawn("comparison", tmp_path))
    both = pd.concat([measured(), measured(steps=10)])
    assert "steps 25 (the first of 2 combinations" in said(ablation.arms(both))
    images = pd.concat(
        [generated(tmp_path).eval(f"prompt_id = prompt_id + {10 * i}") for i in range(3)]
    )
    assert "the first 24 of 30 images" in said(generation.samples(images))


def test_trajectories_are_defined_in_the_figures_that_name_them(tmp_path):
    assert "self-attention reused from step m on" in said(drawn("arms", tmp_path)).replace(
        "\n", " "
    )
    assert "the text at every step" in said(drawn("gates", tmp_path))


def row_names(figure):
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_modules_of_a_plan_are_named_and_of_very_many_their_stages(tmp_path):
    few, some, many = (drawn(f"{n}modules", tmp_path) for n in ("few ", "", "many "))
    assert len(row_names(few)) == 10 + 1
    assert row_names(few)[0] == "resnet down 0.0"
    assert len(row_names(some)) == 60 + 1
    assert "cross up 1.5.0" in row_names(some)
    assert row_names(many)[:3] == ["resnet down 0", "cross down 0", "resnet down 1"]
    assert len(row_names(many)) == 10 + 1


@pytest.mark.parametrize("name", ["few modules", "modules", "many modules"])
def test_names_of_rows_do_not_lie_on_each_other_or_beyond_the_edge(name, tmp_path):
    figure = drawn(name, tmp_path)
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert not overlapping(boxes)
    assert min(box.x0 for box in boxes) >= figure.bbox.x0


def test_both_branches_are_seen_where_they_go_the_same_way():
    table = test_plots.records().assign(l2=1.0)
    ax = plots.convergence_by_site(table, "mid_block.attn1")
    uncond, cond = (line for line in ax.lines)
    assert uncond.get_zorder() <= cond.get_zorder()
    assert uncond.get_linewidth() >= 2 * cond.get_linewidth()


def test_a_part_that_costs_time_stands_left_of_zero_and_every_part_has_its_range():
    figure = bench.attribution(saved())
    ax = figure.axes[0]
    bars = {
        bar.get_label(): [(patch.get_x(), patch.get_width()) for patch in bar]
        for bar in ax.containers
    }
    assert bars["self-attention reuse"][0] == pytest.approx((0, -0.009))
    assert bars["cross-attention reuse"][0] == pytest.approx((0.254, 0.128))
    ranges = [tuple(line.get_xdata()) for line in ax.lines if line.get_marker() == "|"]
    expected = [(0.247, 0.296), (0.254 + 0.119, 0.254 + 0.184), (-0.056, 0.087), (0.349, 0.457)]
    for low, high in expected:
        assert any(a == pytest.approx(low) and b == pytest.approx(high) for a, b in ranges)
    assert len(ranges) == 4  # MACs have none
    assert "sum 37.3%" in said(figure)
    assert "sum 47.2%" in said(figure)


@pytest.mark.parametrize(
    "palette",
    [
        plots.KIND_COLORS, plots.BRANCH_COLORS, plots.CURVE_COLORS, plots.TRAJECTORY_COLORS,
        {**costs.SAVING_COLORS, "computed": costs.COMPUTED_COLOR}, dict(enumerate(style.LINE_COLORS)),
        {part: color for part, (_, color, _) in times._PARTS.items()},
        {name: plots.ACTION_COLORS[name] for name in ("compute", "reuse", "forecast")},
        {name: plots.ACTION_COLORS[name] for name in ("both", "uncond", "cond")},
        {name: plots.ACTION_COLORS[name] for name in ("both", "one")},
        {name: plots.ACTION_COLORS[name] for name in ("prompt", "null")},
    ],
    ids=lambda palette: "-".join(map(str, list(palette)[:2])),
)  # fmt: skip
def test_colours_differ_to_readers_who_do_not_see_red_and_green_apart(palette):
    distance, *which = nearest(palette.values())
    assert distance >= FAR, which


@pytest.mark.parametrize(
    ("hue", "names"),
    [
        ("kind", list(plots.KIND_COLORS)), ("branch", list(plots.BRANCH_COLORS)),
        ("curve", list(plots.CURVE_COLORS)), ("site", [f"site {i}" for i in range(40)]),
        ("kind", ["cross", "self", *(f"other {i}" for i in range(9))]),
    ],
)  # fmt: skip
def test_lines_differ_without_their_colour_too(hue, names):
    found = curves.line_looks(hue, names)
    assert list(found) == sorted(names, key=list(found).index)
    assert set(found) == set(names)
    whole = {str(sorted(look.items(), key=str)) for look in found.values()}
    assert len(whole) == len(names)
    if hue != "site":  # whose four colours differ in grey
        bare = [str(sorted((k, v) for k, v in found[n].items() if k != "color")) for n in names if n in
                {**plots.KIND_COLORS, **plots.BRANCH_COLORS, **plots.CURVE_COLORS}]  # fmt: skip
        assert len(set(bare)) == len(bare)
