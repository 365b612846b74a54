"""A file with its own digest is written once, and what was changed in it is noticed."""

import json

import pytest

from orchestrator.errors import DataError
from orchestrator.storage.sealed import SEAL, read_sealed, write_sealed


def test_what_was_written_is_read_back_and_never_written_again(tmp_path):
    path = tmp_path / "made" / "a.json"
    digest = write_sealed(path, {"b": [1.5, 2], "a": "é"})
    assert read_sealed(path) == {"b": [1.5, 2], "a": "é", SEAL: digest}
    with pytest.raises(FileExistsError):
        write_sealed(path, {"b": []})


def test_a_change_of_any_value_is_noticed_and_other_white_space_is_none(tmp_path):
    path = tmp_path / "a.json"
    write_sealed(path, {"arms": {"a": 0.7}})
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value))
    assert read_sealed(path)["arms"] == {"a": 0.7}
    path.write_text(json.dumps({**value, "arms": {"a": 0.3}}))
    with pytest.raises(DataError, match=r"a\.json was changed since it was written"):
        read_sealed(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": 1', "3"])
def test_what_holds_no_digest_proves_nothing(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"a\.json"):
        read_sealed(path)
