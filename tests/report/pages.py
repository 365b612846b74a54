"""A page of a report, as somebody reads it."""

import re
from html import unescape


def words_of(page: str) -> str:
    """The page as read: no scripts, no styles, no tags."""
    page = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL).replace("<wbr>", "")
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())
