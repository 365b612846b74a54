"""What the page says of its arms beside their losses: settings, first rows, every task."""

import csv
import json
import re

import pytest
import yaml

from orchestrator.report.arms import group_arms
from orchestrator.report.build import page_of
from orchestrator.report.by_task import sets_by_task, write_tasks
from orchestrator.report.contents import PLACE, with_contents
from orchestrator.report.read import read_study
from orchestrator.report.settings import setting_tables
from tests.report.conftest import ARMS, RUN, STEPS, TASKS, make_study
from tests.report.pages import words_of


def test_a_setting_stands_once_where_all_arms_share_it_and_by_arm_where_they_differ(study_of):
    study = study_of({}, seeds=2)
    path = study / "trials" / "random-0" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["training"] |= {"learning_rate": 2.0e-5, "betas": [0.9, 0.95]}
    config |= {"model": {"name": "smollm2-135m", "compile": False}, "evaluation": {"every": None}}
    for trial in study.glob("trials/*/config.yaml"):
        own = yaml.safe_load(trial.read_text())
        trial.write_text(yaml.safe_dump({**config, "arrangement": own["arrangement"],
                                         "seed": own["seed"]}))  # fmt: skip
    run = {"models": {"smollm2-135m@main": {"fingerprint": "fedcba9876543210"}}}
    tables = setting_tables(group_arms(read_study(study).trials), run)
    assert tables.common == {
        "model": "smollm2-135m",
        "model revision": "SHA-256 fedcba987654",
        "rows of a batch": "16",
        "learning rate": "2e-05",
        "optimizer steps": "24",
        "rows trained on": "384",
        "seed": "0; 1",
    }
    assert tables.others == {"training.betas": "0.9, 0.95", "model.compile": "no"}
    assert tables.differing.headers == ["arm", "method", "unit", "order"]
    lines = [[cell.text for cell in row] for row in tables.differing.rows]
    assert lines[:2] == [
        ["nearest_first", "tma", "instance", "nearest_first"],
        ["random", "random", "–", "–"],
    ]


def row(name, query=None, distance=None):
    texts = {"prompt": "Is <b>it</b>?", "answer": "Yes."}
    chosen = query and {"id": query, **texts}
    return {"id": name, "turn": 0, "unit": 3, "distance": distance, **texts, "query": chosen}


ENTRIES = [
    {
        "arms": ["nearest_first", "nearest_first_tasks"],
        "trial": "nearest_first",
        "rows": [row("pool/9", "query/4", -0.25)],
    },
    {"arms": ["random"], "trial": "random", "rows": [row("pool/1")]},
]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    study = make_study(tmp_path_factory.mktemp("compared"), {"nearest_first": -0.2})
    (study / "run.json").write_text(json.dumps({**RUN, "first_rows": ENTRIES}))
    return study


@pytest.fixture(scope="module")
def page(study):
    return page_of(study)


def test_the_first_rows_of_an_arm_stand_with_the_query_that_chose_each(page):
    words = words_of(page)
    text = "Is <b>it</b>? ▸ Yes."
    assert (
        "nearest_first, nearest_first_tasks place row turn distance query that chose it "
        f"1 pool/9 {text} 0 −0.250 query/4 {text} The whole plan of nearest_first. "
        "Distance: negative cosine to the choosing query."
    ) in words
    assert f"random place row turn 1 pool/1 {text} 0 The whole plan of random." in words
    assert 'href="../trials/nearest_first/plan.parquet"' in page


def test_links_of_the_page_lead_to_what_is_there(page, study):
    places = set(re.findall(r'href="#([^"]+)"', page))
    assert {"word-arm", "word-unit", "word-held-out-set", "loss-curves", "summary"} <= places
    assert places <= set(re.findall(r'\bid="([^"]+)"', page))
    files = set(re.findall(r'href="(\.\./[^"]+)"', page))
    assert files
    assert all((study / "report" / file).resolve().exists() for file in files)


def test_every_figure_says_in_words_where_its_lines_begin_and_end(page):
    words = re.findall(r'role="img" aria-label="([^"]+)"', page)
    query = next(text for text in words if text.startswith("Query set: Loss by Optimizer step."))
    assert re.search(r"farthest_first from 3\.4\d\d at 0 to 2\.5\d\d at 24", query)
    assert all(text.endswith(".") for text in words)


def test_every_arm_has_its_loss_on_every_task_in_the_page_and_in_the_file(study_of, tmp_path):
    arms = group_arms(read_study(study_of({"random": 0.3})).trials)
    query, _, _ = sets_by_task(arms)
    assert (query.title, query.tasks) == ("Query set", 10)
    first = query.table.rows[0]
    assert [cell.text for cell in first[:1]] == [min(TASKS)]
    write_tasks(arms, tmp_path / "tasks.csv")
    with (tmp_path / "tasks.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 3 * len(ARMS) * len(TASKS)
    line = next(
        line for line in lines
        if (line["set"], line["task"], line["arm"]) == ("query", min(TASKS), "random")
    )  # fmt: skip
    assert (line["first_step"], line["last_step"]) == ("0", str(STEPS[-1]))
    assert f"{float(line['last_loss']):.3f}" == first[1 + list(ARMS).index("random")].text
    assert float(line["last_loss"]) < float(line["area"]) < float(line["first_loss"])


def test_contents_lead_to_every_heading():
    page = f"{PLACE}<h2>One &amp; two</h2><details><summary><h2>A <b>third</b></h2></summary>"
    made = with_contents(page)
    assert re.findall('href="#([^"]+)">([^<]+)<', made) == [
        ("one-amp-two", "One &amp; two"),
        ("a-third", "A third"),
    ]
    assert 'id="one-amp-two"' in made
    assert '<h2 id="a-third">A <b>third</b></h2>' in made
