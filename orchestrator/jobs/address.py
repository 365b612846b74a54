"""Which addresses a token may go to, and none may do without one.

Ray runs any code for whoever reaches its dashboard, and a token is not encryption.
"""

from __future__ import annotations

import os
from ipaddress import ip_address
from urllib.parse import urlsplit

from orchestrator.errors import JobError
from orchestrator.host.proxies import ask_directly


def check_address(address: str, plain_http: bool) -> None:
    """Refuse a cluster on another machine without a token, or where others could read it.

    Args:
        address: of a cluster's dashboard.
        plain_http: the network on the way there is trusted.

    Raises:
        JobError: saying what to type instead.
    """
    if not address.startswith(("http://", "https://")):
        raise JobError(
            f"{address or 'no address'} is not the address of a cluster's dashboard: give "
            "--address http://127.0.0.1:8265, or set RAY_API_SERVER_ADDRESS"
        )
    if _is_loopback(address):
        return
    if os.environ.get("RAY_AUTH_MODE") != "token":
        raise JobError(
            f"{address} is another machine, and no token is set for it: set RAY_AUTH_MODE=token "
            "and RAY_AUTH_TOKEN_PATH to the file that holds the cluster's"
        )
    if address.startswith("http://") and not plain_http:
        raise JobError(
            f"the token would go to {address} unencrypted: open a tunnel, as in ssh -N -L "
            "8265:127.0.0.1:8265 HEAD, and give --address http://127.0.0.1:8265. Inside a network "
            "that you trust, such as the cluster's own, add --plain-http"
        )


def bypass_proxy(address: str) -> None:
    """Keep a token that goes unencrypted from the proxy that the environment names."""
    if address.startswith("http://"):
        ask_directly(urlsplit(address).hostname or "")


def _is_loopback(address: str) -> bool:
    try:
        host = urlsplit(address).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name, which may lead anywhere
        return False
