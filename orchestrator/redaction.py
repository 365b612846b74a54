"""Secrets in addresses: found before an address is kept, hidden in whatever is shown of others."""

from __future__ import annotations

import re

USER = re.compile(r"(?<=://)[^/?#@\s]*:[^/?#@\s]*@")
QUERY = re.compile(
    r"(?<=[?&;])([\w.-]*(?:token|passw|secret|credential|signature|api_?key|access_?key)[\w.-]*)="
    r"[^&;#\s]*",
    re.IGNORECASE,
)


def secret_in(address: str) -> str | None:
    """What of an address nobody else may see, in words: its password, or a key of its query; None
    where there is nothing."""
    if USER.search(address):
        return "the password"
    found = QUERY.search(address)
    return f"{found[1]}=..." if found else None


def redacted(text: str) -> str:
    """The text with *** in the place of each user and password, and of each secret of a query."""
    return QUERY.sub(r"\1=***", USER.sub("***@", text))
