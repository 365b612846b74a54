"""No library that an advisory names is used, whatever brought it."""

import pytest
from packaging.specifiers import SpecifierSet

from orchestrator.config.layout import Layout
from orchestrator.errors import ResourceError
from orchestrator.host.versions import ADVISORIES, check_versions, needed
from orchestrator.study.checks import check_here
from orchestrator.study.evaluate import evaluate_on
from orchestrator.study.run import run_study
from tests.cluster.test_image import pins
from tests.tracking.fabricated import study_in

AFFECTED = {
    "ray": "2.55.1", "mlflow": "3.17.1", "transformers": "5.2.0", "torch": "2.9.1+cu130",
    "deepspeed": "0.15.0", "sentence-transformers": "5.4.0rc1",
}  # fmt: skip


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a package's metadata first on Python's path, as pip leaves them."""

    def put(name, version):
        folder = tmp_path / "site" / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}")
        monkeypatch.syspath_prepend(tmp_path / "site")

    return put


@pytest.mark.scenario("advisories")
@pytest.mark.parametrize("advisory", ADVISORIES, ids=lambda advisory: advisory.package)
def test_a_library_that_an_advisory_names_is_refused_with_what_to_type(install, advisory):
    install(advisory.package, AFFECTED[advisory.package])
    with pytest.raises(ResourceError) as refused:
        check_versions()
    (told,) = str(refused.value).splitlines()
    assert told.startswith(f"{advisory.package} {AFFECTED[advisory.package]} is named by the adv")
    assert advisory.number in told
    assert told.endswith(f"type pip install '{needed(advisory.package)}'")


@pytest.mark.scenario("advisories")
@pytest.mark.parametrize(
    "start",
    [
        run_study,
        lambda study: evaluate_on(study, "random:tiny-llama"),
        lambda study: check_here(Layout.of(study), [], starts_ray=False),  # of all other commands
    ],
    ids=["run", "evaluate", "other"],
)
def test_nothing_starts_with_one(install, tmp_path, start):
    study = study_in(tmp_path / "out")
    install("torch", "2.9.0")
    with pytest.raises(ResourceError, match=r"torch 2\.9\.0 is named by the advisory"):
        start(study)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["study-file.yaml"]


@pytest.mark.scenario("advisories")
@pytest.mark.parametrize("advisory", ADVISORIES, ids=lambda advisory: advisory.package)
def test_neither_the_bounds_nor_the_pins_let_one_in(advisory):
    check_versions()
    affected = SpecifierSet(advisory.affected)
    (least,) = (each.version for each in needed(advisory.package).specifier if ">" in each.operator)
    for version in (least, pins("constraints.txt")[advisory.package]):
        assert version not in affected
