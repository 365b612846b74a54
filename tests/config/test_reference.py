"""The page that explains every key of a study file."""

import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from orchestrator.config.faults import key_fault
from orchestrator.config.reference import explanations, page, readers, sections
from orchestrator.config.schema import Study
from orchestrator.config.section import Section
from orchestrator.config.sources import Source

PAGE = Path("experiments/REFERENCE.md")


def test_the_page_is_what_the_types_say():
    command = "python -m orchestrator.config.reference > experiments/REFERENCE.md"
    assert PAGE.read_text() == page(), f"type {command}"


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_every_key_is_explained(section):
    assert section.__doc__
    keys = section.model_fields.keys() - {"reader"}  # a heading of the page
    assert keys - explanations(section).keys() == set()


def test_every_section_and_reader_that_a_study_can_hold_is_on_the_page():
    tables = re.split("^#+ ", PAGE.read_text(), flags=re.MULTILINE)
    keys = [set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) for table in tables]
    (common,) = [found for found in keys if "max_per_task" in found]
    for section in sections():
        is_reader = section in readers().values()
        names = {field.alias or name for name, field in section.model_fields.items()}
        own = names - (common | {"reader"} if is_reader else set())
        assert own in [*keys, set()], section
    assert set(readers()) == set(TypeAdapter(Source).json_schema()["discriminator"]["mapping"])


def test_every_link_of_the_page_leads_somewhere():
    headings = re.findall(r"^#+ (.*)$", PAGE.read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert len(anchors) == len(headings)
    links = re.findall(r"\]\(([^)]*)\)", PAGE.read_text())
    assert {link[1:] for link in links if link.startswith("#")} <= anchors
    files = {link.partition("#")[0] for link in links if not link.startswith("#")}
    assert all((PAGE.parent / name).is_file() for name in files)


def test_the_keys_that_a_first_study_needs_are_keys():
    text = Path("README.md").read_text()
    (section,) = [part for part in text.split("\n## ") if part.startswith("The study file\n")]
    assert "(experiments/REFERENCE.md)" in section
    rows = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    assert len(rows) > 10
    for row in rows:
        keys = re.findall(r"`([\w.]+)`", row)
        for key in keys:
            whole = keys[0].partition(".")[0] + key if key.startswith(".") else key
            assert key_fault(tuple(whole.split(".")), Study) is None, whole


def test_a_text_below_a_field_explains_it_and_its_heirs_say_more():
    class Base(Section):
        """Nothing."""

        steps: int = 1
        """Optimizer steps,
        one after another."""
        seed: int = 0

    class Heir(Base):
        seed: int = 0
        """Of all draws."""

    assert explanations(Base) == {"steps": "Optimizer steps, one after another."}
    assert explanations(Heir) == explanations(Base) | {"seed": "Of all draws."}
