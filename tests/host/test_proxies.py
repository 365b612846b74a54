"""A server on this machine is asked without the proxy that the environment names."""

import os

import pytest
import requests

from orchestrator.host.proxies import LOOPBACK, ask_directly, ask_loopback_directly
from tests.conftest import answering

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture
def environment(monkeypatch):
    """The variables of proxies, those that are given and no others."""
    for name in NAMES:
        for each in (name, name.upper()):
            monkeypatch.setenv(each, "")  # so that it is put back
            monkeypatch.delenv(each)

    def put(**given):
        for name, value in given.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_is_reached_past_a_proxy(environment, name, host):
    environment(**{name: "http://127.0.0.1:9"})
    with answering(200) as own:
        address = own.replace("127.0.0.1", host)
        with pytest.raises(requests.exceptions.ProxyError):
            requests.get(address, timeout=5)
        ask_loopback_directly()
        assert requests.get(address, timeout=5).status_code == 200


def test_hosts_that_were_listed_stay_and_other_hosts_go_through_the_proxy(environment):
    environment(HTTPS_PROXY="http://proxy:3128", NO_PROXY=".example.org, 10.0.0.1")
    ask_loopback_directly()
    ask_directly("head")
    listed = [".example.org", "10.0.0.1", *LOOPBACK, "head"]
    assert os.environ["no_proxy"].split(",") == os.environ["NO_PROXY"].split(",") == listed
    assert not requests.utils.should_bypass_proxies("https://hub.example.com", None)


def test_nothing_is_changed_without_a_proxy_or_where_none_is_used_at_all(environment):
    ask_loopback_directly()
    assert "no_proxy" not in os.environ
    environment(http_proxy="http://proxy:1", no_proxy="*")
    ask_loopback_directly()
    assert (os.environ["no_proxy"], "NO_PROXY" in os.environ) == ("*", False)
