"""Ray's job server: submit, follow, stop. What became of a job is asked, never guessed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from orchestrator.errors import JobError, JobLost

POLL_SECONDS = 1.0
PATIENCE = 300.0  # seconds that a job server may be out of reach before a job counts as lost
STOP_SECONDS = 120  # for a stopped job to write what it has, before it is killed
# Of the submitting machine: settings of how a job reaches the hub. No secrets: whoever may look at
# the cluster sees a job's environment.
PASSED_ON = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "HF_ENDPOINT")
ENVIRONMENT = {
    # Ray's own stop is SIGTERM and, three seconds later, SIGKILL.
    "RAY_JOB_STOP_SIGNAL": "SIGINT",
    "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS),
    "PYTHONUNBUFFERED": "1",
}
ENDED = {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED}


class Jobs:
    """The jobs of one cluster.

    Args:
        address: of its dashboard, as http://127.0.0.1:8265; None for RAY_API_SERVER_ADDRESS.

    Raises:
        JobError: nobody answers there, or not to this token.
    """

    def __init__(self, address: str | None) -> None:
        self.address = address or os.environ.get("RAY_API_SERVER_ADDRESS", "")
        if not self.address.startswith(("http://", "https://")):
            raise JobError(
                f"{self.address or 'no address'} is not the address of a cluster's dashboard: give "
                "--address http://127.0.0.1:8265, or set RAY_API_SERVER_ADDRESS"
            )
        # Ray's client prefers the variable to the address that it is given.
        os.environ["RAY_API_SERVER_ADDRESS"] = self.address
        with self._told():
            self._client = JobSubmissionClient(self.address)

    def submit(self, entrypoint: str, package: Path, study: str) -> str:
        """Start a job from a packed working folder; returns its id."""
        passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        with self._told():
            job: str = self._client.submit_job(
                entrypoint=entrypoint,
                runtime_env={"working_dir": str(package), "env_vars": ENVIRONMENT | passed},
                metadata={"study": study},
            )
        return job

    def list(self) -> list[JobDetails]:
        """All jobs that were submitted, the newest first."""
        with self._told():
            found = [job for job in self._client.list_jobs() if job.submission_id]
        return sorted(found, key=lambda job: job.start_time or 0, reverse=True)

    def details(self, job: str) -> JobDetails:
        """What the cluster knows of a job."""
        with self._told():
            return self._client.get_job_info(job)

    def logs(self, job: str) -> str:
        """All that a job has printed."""
        with self._told():
            printed: str = self._client.get_job_logs(job)
        return printed

    def stop(self, job: str) -> JobDetails:
        """Ask a job to stop, and wait until it has."""
        with self._told():
            self._client.stop_job(job)
        end = time.monotonic() + STOP_SECONDS + 30
        while (found := self.details(job)).status not in ENDED and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        return found

    def follow(self, job: str, show: Callable[[str], None]) -> JobDetails:
        """Show what a job prints until it ends; a connection that is cut is made anew.

        Raises:
            JobLost: the job server was out of reach for `PATIENCE` seconds.
        """
        printed, heard = Printed(show), time.monotonic()
        found = self.details(job)
        while found.status not in ENDED:
            try:
                asyncio.run(self._tail(job, printed))
                found = self._client.get_job_info(job)
                heard = time.monotonic()
            except (OSError, RuntimeError, aiohttp.ClientError, requests.RequestException) as error:
                if time.monotonic() - heard > PATIENCE:
                    raise JobLost(
                        f"{self.address} has not answered for {PATIENCE:g} seconds "
                        f"({_line(error)}). The job may go on: orchestrator jobs logs {job} "
                        f"--follow --address {self.address}"
                    ) from None
            time.sleep(POLL_SECONDS)
        # Also what was printed between the last look and the end.
        printed.begin()
        printed.hear(self.logs(job))
        return found

    async def _tail(self, job: str, printed: Printed) -> None:
        printed.begin()
        async for text in self._client.tail_job_logs(job):
            printed.hear(text)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the job server as sentences."""
        try:
            yield
        except (ConnectionError, requests.ConnectionError):
            raise JobError(
                f"nobody answers at {self.address}: is the cluster up, and the tunnel to its "
                "dashboard open?"
            ) from None
        except AuthenticationError:
            raise JobError(
                f"{self.address} does not know this token: set RAY_AUTH_MODE=token and "
                "RAY_AUTH_TOKEN_PATH to the file that holds the cluster's"
            ) from None
        except (RuntimeError, ValueError, requests.RequestException) as error:
            raise JobError(f"{self.address}: {_line(error)}") from None


class Printed:
    """A job's log, each part shown once, however often it is read from its beginning."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._shown = self._heard = 0

    def begin(self) -> None:
        """What is heard next is the beginning of the log."""
        self._heard = 0

    def hear(self, text: str) -> None:
        """The next part of the log."""
        self._heard += len(text)
        new = self._heard - self._shown
        if new > 0:
            self._show(text[-new:])
            self._shown = self._heard


def exit_code(found: JobDetails) -> int:
    """0 only for a job that succeeded: its own code, or 1; 3 of one that was stopped."""
    if found.status == JobStatus.SUCCEEDED:
        return 0
    if found.status == JobStatus.STOPPED:
        return 3
    return found.driver_exit_code or 1


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1][:300]
