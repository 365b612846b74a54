import hashlib
import json
import string
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.data.digests import text_digests
from orchestrator.stages import mapped, vector_cache
from orchestrator.stages.vector_cache import VectorCache


def vectors_of(texts):
    """Three numbers that belong to a text."""
    found = [list(hashlib.sha256(text.encode()).digest()[:3]) for text in texts]
    return np.array(found, dtype=np.float32).reshape(-1, 3)


def add(cache, texts, vectors=None):
    """Every second text was cut; of a text its first letter was read."""
    cut = np.arange(len(texts)) % 2 == 1
    read = np.array([[ord(text[0]) if text else 0, 0] for text in texts], dtype=np.int64)
    cache.add(text_digests(texts), vectors_of(texts) if vectors is None else vectors, cut, read)


def filled(folder, *parts):
    """A cache with a part for each list of texts."""
    cache = VectorCache(folder)
    for texts in parts:
        add(cache, texts)
        cache.flush()
    return cache


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8"))))
def test_digests_are_equal_exactly_where_the_texts_are(texts):
    digests = text_digests(texts)
    assert digests.dtype.itemsize == 16
    same = np.array([[a == b for b in texts] for a in texts]).reshape(len(texts), len(texts))
    np.testing.assert_array_equal(digests[:, None] == digests[None, :], same)


PARTS = st.lists(st.lists(st.text("abc"), min_size=1, max_size=5), min_size=1, max_size=4)


@settings(deadline=None, max_examples=30)
@given(PARTS, st.integers(1, 4), st.data())
def test_every_text_gets_its_vector_whatever_the_parts(tmp_path_factory, parts, block_rows, data):
    folder = tmp_path_factory.mktemp("cache")
    cache = filled(folder, *parts)
    known = [text for texts in parts for text in texts]
    asked = data.draw(st.lists(st.sampled_from(known), min_size=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped, "BLOCK_ROWS", block_rows)
        found = cache.gather(text_digests(asked), folder.parent / f"{folder.name}.npy")
        np.testing.assert_array_equal(found, vectors_of(asked))
        assert cache.held(text_digests(asked)).all()


def test_only_committed_texts_are_held(tmp_path):
    cache = filled(tmp_path, ["a", "b"])
    add(cache, ["c"])
    digests = text_digests(["c", "a", "d", "a"])
    assert VectorCache(tmp_path).held(digests).tolist() == [False, True, False, True]
    cache.flush()
    assert VectorCache(tmp_path).held(digests).tolist() == [True, True, False, True]


@pytest.mark.parametrize("limit", ["PART_BYTES", "PART_SECONDS"])
def test_a_part_is_committed_when_it_is_large_or_late(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(vector_cache, limit, 0)
    cache = VectorCache(tmp_path)
    add(cache, ["a"])
    assert VectorCache(tmp_path).held(text_digests(["a"])).all()


@pytest.mark.scenario("damaged-artifact")
@pytest.mark.parametrize("name", ["digests.npy", "vectors.npy"])
def test_texts_of_a_damaged_part_are_missing_again(tmp_path, name):
    filled(tmp_path, ["a", "b"])
    (part,) = tmp_path.iterdir()
    flip_a_byte(part / name)
    filled(tmp_path, ["c"])
    digests = text_digests(["a", "b", "c"])
    assert VectorCache(tmp_path).held(digests).tolist() == [False, False, True]
    cache = filled(tmp_path, ["b", "a"])
    found = cache.gather(digests, tmp_path.parent / "gathered.npy")
    np.testing.assert_array_equal(found, vectors_of(["a", "b", "c"]))


@pytest.mark.scenario("damaged-artifact")
def test_an_unfinished_part_is_no_part(tmp_path):
    filled(tmp_path, ["a"])
    (part,) = tmp_path.iterdir()
    (part / "manifest.json").unlink()
    assert not VectorCache(tmp_path).held(text_digests(["a"])).any()


def test_a_text_held_twice_has_one_vector_in_all_its_places(tmp_path):
    cache = filled(tmp_path, ["a", "b"])
    add(cache, ["b", "c"], vectors_of(["b", "c"]) + np.float32(0.5))
    cache.flush()
    found = cache.gather(text_digests(["b", "c", "b", "b"]), tmp_path.parent / "gathered.npy")
    assert len(np.unique(found[[0, 2, 3]], axis=0)) == 1


def test_what_was_read_of_texts_is_kept_and_unknown_of_parts_from_before(tmp_path):
    filled(tmp_path, ["ab", "ac"], ["d", "e"])
    (old,) = (p for p in tmp_path.iterdir() if np.load(p / "digests.npy")[0] == text_digests("d"))
    manifest = json.loads((old / "manifest.json").read_text())
    del manifest["files"]["read.npy"]
    (old / "manifest.json").write_text(json.dumps(manifest))
    (old / "read.npy").unlink()
    digests = text_digests(["e", "ac", "ab", "d", "ac"])
    ((_, found, known),) = VectorCache(tmp_path).readings(digests)
    assert known.tolist() == [False, True, True, False, True]
    assert found["cut"].tolist() == [False, True, False, False, True]
    reads = [tuple(read) for read in found["read"]]
    assert reads[1] == reads[2] == reads[4]
    assert len({reads[0], reads[1], reads[3]}) == 3


@pytest.mark.scenario("two-runs")
def test_a_part_that_another_process_commits_meanwhile_changes_no_vector(tmp_path, monkeypatch):
    known = [[f"{part} {text}" for text in range(3)] for part in "abc"]
    cache, asked = filled(tmp_path / "cache", *known), [texts[1] for texts in known]
    listed, names = VectorCache._parts, iter(string.ascii_lowercase[3:])

    def meanwhile(self):
        found = listed(self)
        with monkeypatch.context() as patched:
            patched.setattr(VectorCache, "_parts", listed)
            for name in islice(names, 6):  # of six parts some are sorted in front of others
                filled(cache.folder, [f"{name} {text}" for text in range(4)])
        return found

    monkeypatch.setattr(VectorCache, "_parts", meanwhile)
    gathered = cache.gather(text_digests(asked), tmp_path / "vectors.npy")
    np.testing.assert_array_equal(gathered, vectors_of(asked))
