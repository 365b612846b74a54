"""The page in a browser: no error, and every figure drawn and in sight, wide and narrow."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

from orchestrator.report.build import build_report
from tests.report.conftest import make_study

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
# Runs last: opens all that is folded, picks the last task, hides the first arm, and measures.
LOOK = """<script>
const pause = () => new Promise((resolve) => setTimeout(resolve, 1000));
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
  const shown = plots.flatMap((plot) => plot.data.filter((line) => line.meta === 0))
    .filter((line) => line.visible !== false).length;
  parent.postMessage({
    errors, figures, shown, picked: before !== after,
    overflow: document.documentElement.scrollWidth - innerWidth,
  }, "*");
});
</script>"""
# A frame is as wide as it is told to be; a window of the browser is not.
FRAME = """<!DOCTYPE html><pre id="found"></pre><script>
addEventListener("message", (event) => {
  document.querySelector("#found").textContent = JSON.stringify(event.data);
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


def look(study, tmp_path, width):
    page = build_report(study).read_text(encoding="utf-8")
    page = page.replace("<head>", f"<head>{LISTEN}", 1).replace("</body>", f"{LOOK}</body>", 1)
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    (tmp_path / "frame.html").write_text(FRAME % width, encoding="utf-8")
    command = [CHROMIUM, *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    address = (tmp_path / "frame.html").as_uri()
    result = subprocess.run(
        [*command, address], capture_output=True, text=True, timeout=180, check=False
    )
    found = re.search(r'<pre id="found">(.+?)</pre>', result.stdout, re.DOTALL)
    assert found, f"the page never answered: {result.stderr[-2000:]}"
    return json.loads(unescape(found.group(1)))


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_every_figure_is_in_sight_without_an_error(study, tmp_path, width):
    found = look(study, tmp_path, width)
    assert found["errors"] == []
    wanted = {"loss-query", "loss-off_target", "train", "task-picker", "prediction-arms"}
    assert wanted <= found["figures"].keys()
    for name, figure in found["figures"].items():
        assert 0 <= figure["left"] < figure["right"] <= width, name
        assert figure["right"] - figure["left"] > min(0.35 * width, 300), name
        assert figure["height"] > 200, name
        assert figure["lines"] >= 2, name
    assert found["overflow"] <= 0  # no scrolling sideways
    assert found["picked"]
    assert found["shown"] == 0  # the first arm, which was hidden
