import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.data.digests import text_digests
from orchestrator.stages import mapped
from orchestrator.stages.embed import resolution
from orchestrator.stages.numbered import NumberedDigests, digests_in_file
from orchestrator.stages.vector_cache import READING

TEXTS = st.lists(st.sampled_from("abcde"), max_size=12)
BLOCK_ROWS = st.integers(1, 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("numbered")


@given(st.lists(TEXTS, max_size=3), TEXTS, BLOCK_ROWS)
def test_a_digest_is_found_under_its_lowest_number_however_it_was_given(
    folder, parts, asked, block_rows
):
    known = [text for part in parts for text in part]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped, "BLOCK_ROWS", block_rows)
        table = NumberedDigests(map(text_digests, parts), len(known), folder)
        found, firsts = table.find(text_digests(asked)), table.firsts()
    assert found.tolist() == [known.index(text) if text in known else -1 for text in asked]
    assert firsts.tolist() == [known.index(text) == at for at, text in enumerate(known)]
    assert not list(folder.iterdir())


@given(TEXTS, BLOCK_ROWS)
def test_digests_in_a_file_are_those_of_the_texts(folder, texts, block_rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped, "BLOCK_ROWS", block_rows)
        digests = digests_in_file(iter(texts), len(texts), folder)
    assert digests.tolist() == text_digests(texts).tolist()


@given(TEXTS.filter(len), st.lists(st.integers(0, 2), min_size=5, max_size=5), BLOCK_ROWS)
def test_texts_are_counted_that_share_what_was_read_of_them(folder, texts, read_of, block_rows):
    """`read_of`: what is read of a, of b, and so on."""
    reads = [read_of["abcde".index(text)] for text in texts]
    readings = np.zeros(len(texts), READING)
    readings["read"][:, 1], readings["cut"] = reads, [text < "c" for text in texts]
    known = np.array([text != "e" for text in texts], bool)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped, "BLOCK_ROWS", block_rows)
        given_blocks = [
            (block, readings[block], known[block]) for block in mapped.blocks(len(texts))
        ]
        counts = resolution(text_digests(texts), given_blocks, folder)
    pairs = set(zip(texts, reads, strict=True))
    assert counts == {
        "cut": sum(text < "c" for text in texts),
        "different": len(set(texts)),
        "distinct": len(set(reads)),
        "alike": sum(sum(read == other for _, other in pairs) > 1 for _, read in pairs),
        "shared": sum(reads.count(read) > 1 for read in reads),
        "unknown": texts.count("e"),
    }
