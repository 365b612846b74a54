"""The cluster that a study joins."""

import time

import pytest

from orchestrator.cluster import cluster
from orchestrator.errors import ResourceError
from tests.ports import free_ports


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "http://127.0.0.1:8265", "ray://head:1"])
def test_an_address_where_no_cluster_is_joined_is_told_soon(address, monkeypatch):
    address = address.format(port=free_ports(1)[0])
    monkeypatch.setenv("RAY_ADDRESS", address)
    began = time.monotonic()
    told = f"at RAY_ADDRESS={address} .*RAY_AUTH_TOKEN_PATH"
    with pytest.raises(ResourceError, match=told), cluster(1):
        pytest.fail("it was joined")
    assert time.monotonic() - began < 30  # Ray's own attempts take minutes
