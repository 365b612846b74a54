"""A cluster for the tests of a module, and how they submit a study to it."""

import pytest

from orchestrator.jobs.client import STOP_SECONDS
from tests import canaries
from tests.jobs.commands import submit_from
from tests.jobs.head import Head

# Of the head, for jobs that bring no environment of their own, as in `cluster/Dockerfile`.
GRACE = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    started = Head(tmp_path_factory.mktemp("head"), variables=GRACE | canaries.ENVIRONMENT)
    yield started
    started.stop()


@pytest.fixture
def submit(head, tmp_path, store):
    """Submits a study from a folder that git would leave out."""

    def run(*arguments, **changes):
        return submit_from(tmp_path, head, *arguments, store=store, **changes)

    return run
