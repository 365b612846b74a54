"""The page of faults says of each what the marks on the tests say."""

from __future__ import annotations

from pathlib import Path

from tests.scenarios import SCENARIOS, marked, page

PAGE = Path("experiments/FAULTS.md")
WITHOUT = "| **no test**"


def test_the_page_is_what_the_marks_say() -> None:
    found = marked()
    assert found.keys() <= SCENARIOS.keys(), "a name that tests/scenarios.py does not have"
    command = "python -m tests.scenarios > experiments/FAULTS.md"
    assert PAGE.read_text() == page(found), f"type {command}"


def test_a_scenario_without_a_test_shows(tmp_path: Path) -> None:
    name = next(iter(SCENARIOS))
    (tmp_path / "test_it.py").write_text(
        f'@pytest.mark.scenario("{name}")\n@pytest.mark.slow\ndef test_it():\n    pass\n'
    )
    found = marked(tmp_path)
    assert found == {name: [f"{tmp_path.name}/test_it.py::test_it"]}
    shown = {line.split(" | ")[0]: line for line in page(found).splitlines()}
    without = {each for each in SCENARIOS if WITHOUT in shown[f"| {each}"]}
    assert without == SCENARIOS.keys() - {name}
    assert f"`{found[name][0]}`" in shown[f"| {name}"]
