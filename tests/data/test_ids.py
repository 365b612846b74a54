"""Ids that come again are found among all before, whatever the tables that they come in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.data.digests import text_digests
from orchestrator.data.ids import SeenIds


@pytest.mark.scenario("duplicates")
@given(st.lists(st.lists(st.integers(0, 40).map(str), max_size=12), max_size=12))
def test_an_id_is_told_to_come_again_where_a_set_would_hold_it(tables):
    seen, held = SeenIds(), set()
    for ids in tables:
        expected = []
        for one in ids:
            expected.append(one in held)
            held.add(one)
        assert seen.add(text_digests(ids)).tolist() == expected
        assert len(seen) == len(held)
