from typing import Literal

import pytest
from pydantic import BaseModel, ValidationError

from orchestrator.config.faults import explain


def test_a_union_of_kinds_is_one_fault_without_the_names_of_the_kinds():
    class Clusters(BaseModel):
        clusters: int

    class Toy(BaseModel):
        granularity: Literal["instance", "task"] | Clusters

    with pytest.raises(ValidationError) as caught:
        Toy.model_validate({"granularity": {"clusters": "x"}})
    paths = {path for path, _ in explain(caught.value, Toy)}
    assert paths == {("granularity",)}
