"""Ray's job server: submit, follow, stop. What became of a job is asked, never guessed."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from orchestrator.errors import JobError, JobLost
from orchestrator.jobs.address import bypass_proxy, check_address
from orchestrator.provenance import COMMIT_VARIABLE
from orchestrator.redaction import secret_in

POLL_SECONDS = 1.0
ANSWER_SECONDS = 60.0  # without a byte from the job server, then it is asked anew
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
NO_JOB = "{} does not exist"  # Ray's answer
# What Ray's client raises if there is no answer, or none that it understands. Not OSError: that may
# also be the screen's.
UNANSWERED = (
    TimeoutError, RuntimeError, AuthenticationError, aiohttp.ClientError, requests.RequestException,
)  # fmt: skip


def _passed_on() -> dict[str, str]:
    """The variables that a job is given of this machine's.

    Raises:
        JobError: one of them holds a secret, which whoever looks at the cluster would see.
    """
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    for name, value in passed.items():
        if hidden := secret_in(value):
            raise JobError(
                f"{name} would be sent to the cluster, where others can read it: leave {hidden} "
                "out of it, and set HF_TOKEN on the cluster's machines"
            )
    return passed


class Jobs:
    """The jobs of one cluster.

    Args:
        address: of its dashboard, as http://127.0.0.1:8265; None for RAY_API_SERVER_ADDRESS.
        plain_http: another machine may be sent the token without encryption.

    Attributes:
        options: of the command line, with which another command reaches the same cluster.

    Raises:
        JobError: nobody answers there, or not to this token, or the token is not safe there.
    """

    def __init__(self, address: str | None, plain_http: bool = False) -> None:
        self.address = address or os.environ.get("RAY_API_SERVER_ADDRESS", "")
        check_address(self.address, plain_http)
        bypass_proxy(self.address)
        self.options = f"--address {self.address}" + " --plain-http" * plain_http
        # Ray's client prefers the variable to the address that it is given.
        os.environ["RAY_API_SERVER_ADDRESS"] = self.address
        with self._as_sentences():
            self._client = Client(self.address)

    def submit(self, entrypoint: str, package: Path, study: str, commit: str | None) -> str:
        """Start a job from a packed working folder; returns its id.

        Args:
            commit: of the `orchestrator/` in the package; None where it has none.

        Raises:
            JobError: the job server took no job.
            JobLost: it fell silent for `PATIENCE` seconds, and may have taken it.
        """
        variables = ENVIRONMENT | ({} if commit is None else {COMMIT_VARIABLE: commit})
        variables |= _passed_on()
        # Named here, so that it can be asked for if the answer is lost.
        job = f"raysubmit_{secrets.token_hex(8)}"
        asked = time.monotonic()
        try:
            self._client.submit_job(
                entrypoint=entrypoint,
                runtime_env={"working_dir": str(package), "env_vars": variables},
                metadata={"study": study},
                submission_id=job,
            )
        except (ConnectionError, ValueError, *UNANSWERED) as error:
            if not self._has(job, asked + PATIENCE):
                raise JobError(self._sentence(error)) from None
        return job

    def _has(self, job: str, end: float) -> bool:
        """Whether the job server has a job, asked until it answers or the time is over."""
        while True:
            try:
                self._client.get_job_info(job)
                return True
            except UNANSWERED as error:
                if NO_JOB.format(job) in str(error) or isinstance(error, AuthenticationError):
                    return False
                if time.monotonic() > end:
                    raise self._lost(job, error) from None
            time.sleep(POLL_SECONDS)

    def list(self) -> list[JobDetails]:
        """All jobs that were submitted, the newest first."""
        with self._as_sentences():
            jobs = [job for job in self._client.list_jobs() if job.submission_id]
        return sorted(jobs, key=lambda job: job.start_time or 0, reverse=True)

    def logs(self, job: str) -> str:
        """Returns all that a job has printed."""
        with self._as_sentences():
            printed: str = self._client.get_job_logs(job)
        return printed

    def stop(self, job: str) -> JobDetails:
        """Ask a job to stop, and wait until it has."""
        with self._as_sentences():
            self._client.stop_job(job)
        end = time.monotonic() + STOP_SECONDS + 30
        while True:
            try:
                details = self._client.get_job_info(job)
                if details.status in ENDED or time.monotonic() > end:
                    return details
            except UNANSWERED as error:
                if time.monotonic() > end:
                    raise self._lost(job, error) from None
            time.sleep(POLL_SECONDS)

    def follow(self, job: str, show: Callable[[str], None]) -> JobDetails:
        """Show what a job prints until it ends; a connection that is cut is made anew.

        Raises:
            JobLost: the job server was out of reach for `PATIENCE` seconds, or is not the one
                that the job was submitted to.
        """
        printed, heard = JobLog(show), time.monotonic()
        while True:
            try:
                details = self._client.get_job_info(job)
                if details.status in ENDED:
                    # Also what was printed between the last look and the end.
                    printed.begin()
                    printed.hear(self._client.get_job_logs(job))
                    return details
                asyncio.run(self._tail(job, printed))
                heard = time.monotonic()
            except UNANSWERED as error:
                # A cluster that was made anew has other jobs, and another token.
                if NO_JOB.format(job) in str(error):
                    raise JobLost(
                        f"{self.address} has no job {job}: orchestrator jobs list {self.options}"
                    ) from None
                refused = isinstance(error, AuthenticationError)
                if refused or time.monotonic() - heard > PATIENCE:
                    raise self._lost(job, error) from None
            time.sleep(POLL_SECONDS)

    def _lost(self, job: str, error: Exception) -> JobLost:
        return JobLost(
            f"{self._sentence(error)}. The job may go on: orchestrator jobs logs {job} --follow "
            f"{self.options}"
        )

    async def _tail(self, job: str, printed: JobLog) -> None:
        """Show the log from its beginning, until it ends, falls silent or cannot be read."""
        now = asyncio.get_running_loop().time
        printed.begin()
        # A cut is no news of the job: whoever calls asks next.
        with suppress(*UNANSWERED):
            # Ray's client would wait for ever on a connection that died without a word.
            async with asyncio.timeout(ANSWER_SECONDS) as silence:
                async for text in self._client.tail_job_logs(job):
                    printed.hear(text)
                    silence.reschedule(now() + ANSWER_SECONDS)

    @contextmanager
    def _as_sentences(self) -> Iterator[None]:
        """Errors of the job server as sentences."""
        try:
            yield
        except (ConnectionError, ValueError, *UNANSWERED) as error:
            raise JobError(self._sentence(error)) from None

    def _sentence(self, error: Exception) -> str:
        if isinstance(error, ConnectionError | requests.ConnectionError | requests.Timeout):
            return (
                f"nobody answers at {self.address}: is the cluster up, and the tunnel to its "
                "dashboard open?"
            )
        if isinstance(error, AuthenticationError):
            return (
                f"{self.address} does not know this token: set RAY_AUTH_MODE=token and "
                "RAY_AUTH_TOKEN_PATH to the file that holds the cluster's"
            )
        text = str(error).strip() or type(error).__name__
        return f"{self.address}: {text.splitlines()[-1][:300]}"


class Client(JobSubmissionClient):
    """Ray's client, which would wait for ever for an answer."""

    def _do_request(self, method: str, endpoint: str, **rest: Any) -> requests.Response:
        # Of PUT, which sends a package, the limit would be one of the whole way there.
        seconds = None if method == "PUT" else ANSWER_SECONDS
        return super()._do_request(method, endpoint, timeout=seconds, **rest)


class JobLog:
    """A job's log, each part shown once, however often it is read from its beginning."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._shown = self._heard = 0

    def begin(self) -> None:
        """What is heard next is the beginning of the log."""
        self._heard = 0

    def hear(self, text: str) -> None:
        """Take the next part of the log, and show what of it was not shown yet."""
        self._heard += len(text)
        new = self._heard - self._shown
        if new > 0:
            self._show(text[-new:])
            self._shown = self._heard


def exit_code(details: JobDetails) -> int:
    """0 only for a job that succeeded: its own code, or 1; 3 of one that was stopped."""
    if details.status == JobStatus.SUCCEEDED:
        return 0
    if details.status == JobStatus.STOPPED:
        return 3
    return details.driver_exit_code or 1
