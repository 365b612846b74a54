"""A token goes to this machine, or over an encrypted way, or where its owner says so."""

import pytest

from orchestrator.errors import JobError
from orchestrator.jobs.address import check_address

ELSEWHERE = ["head-svc:8265", "10.1.2.3:8265", "0.0.0.0:8265", "127.0.0.1.example.org", "[2001::1]"]


@pytest.mark.parametrize("host", ["127.0.0.1:8265", "127.8.9.1:80", "localhost:8265", "[::1]:8265"])
def test_this_machine_is_spoken_to_with_and_without_a_token(host, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    check_address(f"http://{host}", plain_http=False)


@pytest.mark.scenario("ray")
@pytest.mark.parametrize("host", ELSEWHERE)
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("mode", [None, "disabled"])
def test_another_machine_is_not_spoken_to_without_a_token(host, scheme, mode, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    if mode:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    with pytest.raises(JobError, match="set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"):
        check_address(f"{scheme}://{host}", plain_http=True)


@pytest.mark.scenario("ray")
@pytest.mark.parametrize("host", ELSEWHERE)
def test_a_token_goes_unencrypted_to_another_machine_only_where_that_is_said(host, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with pytest.raises(JobError, match="unencrypted: open a tunnel"):
        check_address(f"http://{host}", plain_http=False)
    check_address(f"http://{host}", plain_http=True)
    check_address(f"https://{host}", plain_http=False)


@pytest.mark.parametrize("address", ["", "127.0.0.1:8265", "ray://127.0.0.1:10001", "auto"])
def test_what_is_no_dashboard_is_refused_with_an_example_of_one(address):
    with pytest.raises(JobError, match="give --address http://127"):
        check_address(address, plain_http=True)
