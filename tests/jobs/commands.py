"""What a user of a cluster types, as the tests type it."""

import re

from tests import canaries
from tests.studies import orchestrate, write_study

ARRANGED = {"method": "random", "rows": 24}
# No measures: nothing needs to be embedded.
ONE_TRIAL = {
    "arrangement": ARRANGED, "evaluation": {"every": 2, "measures": False}, "sweep": {}
}  # fmt: skip


def submit_from(folder, head, *arguments, token=None, **changes):
    """Submit a study from a folder, as its user does."""
    write_study(folder, **ONE_TRIAL | changes)
    return orchestrate(
        "submit", "study.yaml", "--output", folder / "shared", *arguments,
        cwd=folder, env=head.environment(token) | canaries.ENVIRONMENT,
    )  # fmt: skip


def job_of(submitted):
    return re.search(r"raysubmit_\w+", submitted.stdout)[0]


def line_of(job, head):
    """What `jobs list` says of a job."""
    listed = orchestrate("jobs", "list", env=head.environment()).stdout
    return next(line for line in listed.splitlines() if job in line)
