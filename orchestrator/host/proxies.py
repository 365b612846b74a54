"""Which addresses are asked without the proxy that the environment names.

A proxy on another machine takes its own loopback for ours: a server here would seem silent.
"""

from __future__ import annotations

import os
from urllib.request import getproxies_environment

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def ask_directly(*hosts: str) -> None:
    """Let this process and those that it starts ask hosts without a proxy."""
    listed = ",".join(os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    known = [host for part in listed.split(",") if (host := part.strip())]
    if "*" in known:  # all of them, and only where it stands alone
        return
    # Libraries differ in which of the two they look for first.
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(dict.fromkeys([*known, *hosts]))


def ask_loopback_directly() -> None:
    """Let this machine be asked without a proxy, where the environment names one at all."""
    if proxies():
        ask_directly(*LOOPBACK)


def proxies() -> dict[str, str]:
    """The variables that name a proxy, and the proxy of each."""
    return {f"{kind}_proxy": proxy for kind, proxy in getproxies_environment().items()
            if kind != "no"}  # fmt: skip
