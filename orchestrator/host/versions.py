"""Installed libraries that a published advisory names are refused before a study starts.

The bounds of `pyproject.toml` keep pip from installing them; a later `pip install` of something
else may still bring one. `cluster/audit.sh` asks the public records about every pinned package.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from orchestrator.errors import ResourceError

PROJECT = "arrangement-orchestrator"


@dataclass(frozen=True)
class Advisory:
    """What public records say of versions of a library.

    Attributes:
        package: its name for pip.
        affected: its versions, as pip reads them.
        number: of the record.
        what: can happen with them, as the end of a sentence.
    """

    package: str
    affected: str
    number: str
    what: str


# Of several records about a library the one that reaches the newest versions.
ADVISORIES = (
    Advisory("ray", "<2.56", "CVE-2026-57516", "data that it reads can run code"),
    Advisory(
        "mlflow", "<=3.17.1", "CVE-2026-53995", "the id of a trace can lead outside its store"
    ),
    Advisory("transformers", "<=5.2.0", "CVE-2026-5241", "code that comes with a model can run"),
    Advisory("torch", "<2.10", "CVE-2026-24747", "weights that are no plain tensors can run code"),
    Advisory("deepspeed", "<0.15.1", "CVE-2024-43497", "a file that it loads can run code"),
    Advisory("sentence-transformers", "<6", "CVE-2026-68770", "code of a local model can run"),
)


def check_versions() -> None:
    """Refuse installed libraries that an advisory names; a library that is absent is no fault.

    Raises:
        ResourceError: all of them, each with its version, the advisory and what to type.
    """
    faults = [fault for advisory in ADVISORIES if (fault := _fault(advisory))]
    if faults:
        raise ResourceError("\n".join(faults))


def needed(package: str) -> Requirement:
    """What `pyproject.toml` asks of a library that every installation has."""
    found = (Requirement(line) for line in requires(PROJECT) or [])
    return next(each for each in found if each.name == package and not each.marker)


def _fault(advisory: Advisory) -> str | None:
    try:
        installed = version(advisory.package)
    except PackageNotFoundError:
        return None
    if not SpecifierSet(advisory.affected).contains(installed, prereleases=True):
        return None
    record = f"{advisory.number} (versions {advisory.affected}: {advisory.what})"
    return (
        f"{advisory.package} {installed} is named by the advisory {record}: type pip install "
        f"'{needed(advisory.package)}'"
    )
