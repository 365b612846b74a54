"""The contents of the page, from its own headings."""

from __future__ import annotations

import re

PLACE = "<!-- contents -->"  # where a page wants them
HEADING = re.compile(r"<h2>(.*?)</h2>", re.DOTALL)


def with_contents(page: str) -> str:
    """The page with an id in each heading of the second level, and links to them in their place."""
    links: list[str] = []

    def named(heading: re.Match[str]) -> str:
        words = re.sub("<[^>]+>", "", heading[1])
        name = re.sub("[^a-z0-9]+", "-", words.lower()).strip("-")
        links.append(f'<li><a href="#{name}">{words}</a></li>')
        return f'<h2 id="{name}">{heading[1]}</h2>'

    page = HEADING.sub(named, page)
    return page.replace(PLACE, f'<nav aria-label="Contents"><ul>{"".join(links)}</ul></nav>', 1)
