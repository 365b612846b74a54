"""The page in a browser: every figure drawn and in sight, and drawn as its legend says."""

import json
import re
import shutil
import subprocess
from html import unescape

import numpy as np
import pytest

from orchestrator.report.arms import group_arms
from orchestrator.report.build import page_of
from orchestrator.report.figures import loss_panels
from orchestrator.report.read import read_study
from tests.report.conftest import make_study
from tests.waiting import PATIENCE

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
    "--virtual-time-budget=15000", "--window-size=1400,1000",
)  # fmt: skip

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

# Runs before anything else of the page.
LISTEN = """<script>
const errors = [];
addEventListener("error", (event) => errors.push(String(event.message)), true);
addEventListener("unhandledrejection", (event) => errors.push(String(event.reason)));
console.error = (...words) => errors.push(words.join(" "));
</script>"""
PAUSE = "const pause = () => new Promise((resolve) => setTimeout(resolve, 1000));"
# Runs last, as one of two: opens all that is folded, picks the last task, hides the first arm, and
# measures.
LOOK = """
addEventListener("load", async () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  await pause();
  const plots = [...document.querySelectorAll(".js-plotly-plot")];
  const figures = Object.fromEntries(plots.map((plot) => {
    const box = plot.querySelector(".main-svg").getBoundingClientRect();
    const drawn = [...plot.querySelectorAll(".scatterlayer .js-line")];
    const lines = drawn.filter((line) => line.getBoundingClientRect().width > 20).length;
    return [plot.id, { left: box.left, right: box.right, height: box.height, lines }];
  }));
  const before = JSON.stringify(document.querySelector("#task-picker").data.map((line) => line.y));
  const pick = document.querySelector("#pick");
  pick.selectedIndex = pick.options.length - 1;
  pick.dispatchEvent(new Event("change"));
  document.querySelector(".legend button").click();
  await pause();
  const after = JSON.stringify(document.querySelector("#task-picker").data.map((line) => line.y));
  const shown = plots.flatMap((plot) => plot.data.filter((line) => line.meta.arm === 0))
    .filter((line) => line.visible !== false).length;
  parent.postMessage({
    errors, figures, shown, picked: before !== after,
    overflow: document.documentElement.scrollWidth - innerWidth,
  }, "*");
});
"""
# Unfolds the first arm, hides its first trial and shows it again, hides both, and the arm; at the
# beginning and after each, what the legend and a hover at step 8 say of the arm, and its lines in
# the three panels of losses.
HIDE = """
addEventListener("load", async () => {
  const part = document.querySelector(".legend > *");
  const fold = part.querySelector("summary");
  const [arm, first, second] = part.querySelectorAll("button");
  const look = () => ["query", "held_out", "off_target"].map((set) => {
    const plot = document.querySelector(`#loss-${set}`);
    Plotly.Fx.hover(plot, { xval: 8 }, "xy");
    const texts = [...plot.querySelectorAll(".hoverlayer text")].map((text) => text.textContent);
    const ofArm = plot.calcdata.filter((points, at) => plot.data[at].meta.arm === 0);
    const lines = ofArm.map((points) => (
      points[0].trace.visible ? points.map(({ x, y }) => [x, y]) : null
    ));
    const hovered = texts.filter((text) => /^nearest_first[, ]/.test(text));
    return { said: fold.textContent, hovered, lines };
  });
  const seen = [look()];
  for (const button of [fold, first, first, first, second, arm]) {
    button.click();
    await pause();
    seen.push(look());
  }
  parent.postMessage({ errors, seen }, "*");
});
"""
# A frame is as wide as it is told to be; a window of the browser is not.
FRAME = """<!DOCTYPE html><pre id="state"></pre><script>
addEventListener("message", (event) => {
  document.querySelector("#state").textContent = JSON.stringify(event.data);
});
</script><iframe src="page.html" width="%d" height="900" style="border: 0"></iframe>"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two seeds, a claim with a figure, measures and all three sets: every section is there."""
    claim = {
        "question": "Is nearest-first best?",
        "arms": ["nearest_first", "random", "farthest_first"],
        "figures": [{"name": "Figure 3", "bands": {"random": [2.0, 3.0]}}],
    }
    shifts = {"nearest_first": -0.2, "random": -0.1}
    return make_study(tmp_path_factory.mktemp("browser"), shifts, seeds=2, claim=claim)


def look(study, tmp_path, width, script):
    page = page_of(study)
    last = f"<script>{PAUSE}{script}</script></body>"
    page = page.replace("<head>", f"<head>{LISTEN}", 1).replace("</body>", last, 1)
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    (tmp_path / "frame.html").write_text(FRAME % width, encoding="utf-8")
    command = [CHROMIUM, *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    address = (tmp_path / "frame.html").as_uri()
    result = subprocess.run(
        [*command, address], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    match = re.search(r'<pre id="state">(.+?)</pre>', result.stdout, re.DOTALL)
    assert match, f"the page never answered: {result.stderr[-2000:]}"
    return json.loads(unescape(match.group(1)))


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_every_figure_is_in_sight_without_an_error(study, tmp_path, width):
    state = look(study, tmp_path, width, LOOK)
    assert state["errors"] == []
    wanted = {"loss-query", "loss-off_target", "train", "task-picker", "prediction-arms"}
    assert wanted <= state["figures"].keys()
    for name, figure in state["figures"].items():
        assert 0 <= figure["left"] < figure["right"] <= width, name
        assert figure["right"] - figure["left"] > min(0.35 * width, 300), name
        assert figure["height"] > 200, name
        assert figure["lines"] >= 2, name
    assert state["overflow"] <= 0  # no scrolling sideways
    assert state["picked"]
    assert state["shown"] == 0  # the first arm, which was hidden


@pytest.mark.slow
def test_a_hidden_trial_leaves_the_mean_of_its_arm_and_comes_back(study, tmp_path):
    state = look(study, tmp_path, 1280, HIDE)
    assert state["errors"] == []
    panels = loss_panels(group_arms(read_study(study).trials))
    for states, panel in zip(zip(*state["seen"], strict=True), panels, strict=True):
        folded, unfolded, one, both, other, none, no_arm = states
        assert [state["said"] for state in states] == [
            f"mean of {count} of 2" for count in (2, 2, 1, 2, 1, 0, 0)
        ]
        line = panel.lines[0]
        drawn = [*(y for _, y in line.trials.values()), line.y]
        for state in (folded, unfolded, both):
            expected = [np.column_stack([line.x, y]) for y in drawn]
            np.testing.assert_allclose(state["lines"], expected, atol=1e-6)
        _, second, _ = both["lines"]
        assert one["lines"] == [None, second, second]  # the mean of one is that one
        assert other["lines"] == [None, second, second]
        assert none["lines"] == no_arm["lines"] == [None] * 3

        values = [f"{y[1]:.3f}" for y in drawn]
        names = ["nearest_first, seed 0", "nearest_first, seed 1", "nearest_first"]
        rows = [f"{name} : {value}" for name, value in zip(names, values, strict=True)]
        assert folded["hovered"] == rows[2:]
        assert unfolded["hovered"] == both["hovered"] == rows
        assert one["hovered"] == [rows[1], f"{names[2]} : {values[1]} (mean of 1 of 2)"]
