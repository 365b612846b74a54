"""Every link in the project's documents leads to a file, and to a heading, that is there."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *(
        path
        for folder in ("orchestrator", "experiments", "cluster")
        for path in ROOT.glob(f"{folder}/**/*.md")
    ),
]


def _prose(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def _anchors(path: Path) -> set[str]:
    """The names that GitHub gives to a document's headings."""
    headings = re.findall(r"^#+ (.*)$", _prose(path.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_example_report_leads_to_files_that_are_there() -> None:
    page = ROOT / "experiments/example/quickstart/report/index.html"
    links = re.findall(r'href="((?!data:|#|http)[^"]+)"', page.read_text())
    assert len(links) > 10
    assert [link for link in links if not (page.parent / unquote(link)).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", _prose(document.read_text()))
    for link in links:
        if re.match(r"https?://|mailto:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target), link
