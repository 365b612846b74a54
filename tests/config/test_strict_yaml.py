import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config.strict_yaml import dump, parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1.0e-5", 1e-5),
        (".5", 0.5),
        ("010", 10),
        ("0x10", 16),
        ("0o10", 8),
        ("true", True),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("NO", "NO"),
        ("on", "on"),
        ("2024-06-17", "2024-06-17"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("'1e-5'", "1e-5"),
        ('"null"', "null"),
        ("<<", "<<"),
        ("9" * 5000, float("inf")),
    ],
)
def test_plain_values_mean_what_yaml_1_2_says(text, value):
    read, _, faults = parse(f"key: {text}\n")
    assert not faults
    assert read["key"] == value
    assert type(read["key"]) is type(value)


ALIAS_BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 30)
)


@pytest.mark.scenario("study-files")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ALIAS_BOMB, "line 2: *a0 is a YAML alias"),
        ("x: &anchor 1\n", "line 1: &anchor is a YAML anchor"),
        ("x: !!python/object/apply:os.system [ls]\n", "python/object/apply:os.system' is a YAML"),
        ("!!str x: 1\n", "is a YAML tag"),
        ("x: ! y\n", "'!' is a YAML tag"),
        ("? [a, b]\n: 1\n", "a key must be text"),
        ("? {a: b}\n: 1\n", "a key must be text"),
        ("x: " + "[" * 100_000, "nested deeper than 20 levels"),
        ("x: " + "{y: " * 21 + "1" + "}" * 21, "nested deeper than 20 levels"),
        ("study: a\n---\nstudy: b\n", "a second YAML document"),
        ("study: [a\n", "not readable as YAML"),
        ("study: a\n\tb: c\n", "line 2: not readable as YAML"),
        ("study: a\x00b\n", "not readable as YAML"),
        ('study: "\\ud800"\n', "half a character"),
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("- study: a\n", "holds [{"),
        ("just words\n", 'holds "just words"'),
    ],
)
def test_unsafe_and_unreadable_files_are_refused_at_once(faults, text, said):
    started = time.monotonic()
    found = faults(base=text)
    assert any(said in fault for fault in found), found
    assert time.monotonic() - started < 5


def test_twenty_levels_are_read():
    value, _, faults = parse("[" * 20 + "]" * 20)
    assert not faults
    assert value is not None


text = st.text(max_size=30) | st.sampled_from(
    ["1e-5", "010", "09", "0o7", "yes", "null", "~", "", "2024-01-01", "*a", "&a", "!x", "a: b"]
)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text
tree = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3)
)


@settings(deadline=None)
@given(st.dictionaries(text, tree, max_size=4))
def test_dumped_values_are_read_back_as_they_were(value: dict[str, Any]):
    assert parse(dump(value)) == (value, parse(dump(value))[1], [])
