"""No secret of an address is kept, shown or sent."""

import io
import zipfile

import pytest
from rich.console import Console

from orchestrator.errors import JobError, ModelError
from orchestrator.jobs.client import _passed_on
from orchestrator.redaction import redacted, secret_in
from orchestrator.screen import Screen
from tests import canaries

SECRET = "canary-5f1"
HOLDING = {
    f"https://me:{SECRET}@hub.example/models": "https://***@hub.example/models",
    f"postgresql://me:{SECRET}@db:5432/mlflow": "postgresql://***@db:5432/mlflow",
    f"https://mlflow.example/?token={SECRET}&a=1": "https://mlflow.example/?token=***&a=1",
    f"https://x.example/f?a=1&X-Amz-Signature={SECRET}": (
        "https://x.example/f?a=1&X-Amz-Signature=***"
    ),
    f"mysql://db/x?user=me;password={SECRET}": "mysql://db/x?user=me;password=***",
    f"https://x.example?API_KEY={SECRET}#end": "https://x.example?API_KEY=***#end",
}


@pytest.mark.scenario("secrets")
@pytest.mark.parametrize("address", HOLDING)
def test_a_secret_of_an_address_is_found_and_hidden_and_the_rest_stays(address):
    assert secret_in(address)
    assert SECRET not in secret_in(address)
    text = f"no answer from {address} again"
    assert redacted(text) == f"no answer from {HOLDING[address]} again"


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:5000", "sqlite:////home/me@work/mlflow.db", "https://hub.example?page=token",
     "https://hub.example/tokens/keys?page=2", "owner/model@v2"],
)  # fmt: skip
def test_an_address_without_a_secret_stays_as_it_is(address):
    assert redacted(f"{address} is 3:30, me@here") == f"{address} is 3:30, me@here"


@pytest.mark.scenario("secrets")
def test_errors_and_the_screen_show_none():
    (address,) = list(HOLDING)[:1]
    assert SECRET not in str(ModelError(f"{address} does not answer"))
    stream = io.StringIO()
    with Screen(Console(file=stream, width=300)) as screen:
        screen.tell(f"{address} does not answer")
        screen.line("model").done(f"from {address}")
    assert stream.getvalue().count("https://***@hub.example/models") == 2
    assert SECRET not in stream.getvalue()


@pytest.mark.scenario("secrets")
def test_a_variable_that_holds_one_is_not_sent_with_a_job(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    assert _passed_on()["HF_ENDPOINT"] == "https://hub.example"
    monkeypatch.setenv("HF_ENDPOINT", f"https://me:{SECRET}@hub.example")
    with pytest.raises(JobError, match="HF_ENDPOINT would be sent to the cluster") as refused:
        _passed_on()
    assert SECRET not in str(refused.value)


def test_the_search_of_the_tests_finds_a_secret_in_a_text_and_in_an_archive(tmp_path):
    canaries.plant(tmp_path)
    (tmp_path / "plain").write_text("nothing")
    with zipfile.ZipFile(tmp_path / "package.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside", 1000 * canaries.ADDRESS)
    package = tmp_path / "package.zip"
    assert sorted(canaries.leaks(tmp_path)) == [str(tmp_path / ".env"), f"{package}: inside"]
