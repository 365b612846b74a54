"""No file of cluster/ holds what should not be in a repository."""

import re

import pytest

from tests.cluster.reading import FOLDER

FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())
# What the services use whose keys are asked for here: AWS, Hugging Face, GitHub, SSH and TLS.
KEYS = r"AKIA[0-9A-Z]{16}|\bhf_\w{20,}|\bgh[pousr]_\w{20,}|BEGIN [A-Z ]*PRIVATE KEY"
RANDOM = r"\b(?=\w*\d)(?=\w*[a-f])[0-9a-f]{32,}\b|\b[A-Za-z0-9+/]{40,}={1,2}"
ASSIGNED = r"(?i)(?:password|secret[-_]key|token)[\"']?\s*[:=]\s*[\"']?[A-Za-z0-9!#%]{6,}[\"']?\s*$"
PRIVATE_HOSTS = r"\b[\w-]+\.(?:internal|local|lan|corp|intranet|home)\b"
FLOATING = r"(?:image|FROM)[:\s]+\S+:latest\b|\bimage:\s*[\w./-]+\s*$"


@pytest.mark.scenario("secrets")
@pytest.mark.parametrize("path", FILES, ids=str)
@pytest.mark.parametrize(
    "pattern",
    [KEYS, RANDOM, ASSIGNED, PRIVATE_HOSTS, FLOATING],
    ids=["keys", "random text", "assigned passwords", "private hosts", "floating images"],
)
def test_no_file_holds(pattern, path):
    assert re.search(pattern, path.read_text(), re.MULTILINE) is None


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (KEYS, "aws_access_key_id: AKIAABCDEFGHIJKLMNOP"),
        (RANDOM, "auth_token: 0f" + "3a" * 31),
        (ASSIGNED, "  POSTGRES_PASSWORD: hunter22"),
        (PRIVATE_HOSTS, "address: db.corp"),
        (FLOATING, "image: rayproject/ray:latest"),
        (FLOATING, "image: postgres"),
    ],
)
def test_such_text_would_be_found(pattern, text):
    assert re.search(pattern, text, re.MULTILINE)
