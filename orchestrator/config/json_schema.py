"""The study file as a JSON schema, by which editors complete, check and explain its keys.

What a key accepts is pydantic's, what it means is what the page of `reference` says. What hangs on
several keys at once is told by `orchestrator estimate` alone.
"""

from __future__ import annotations

import inspect
import json
import re

from orchestrator.config.faults import Schema
from orchestrator.config.reference import explanations, sections
from orchestrator.config.schema import Study

FILE = "study.schema.json"
LINE = f"# yaml-language-server: $schema={FILE}"  # what an editor looks for in a study file
DIALECT = "https://json-schema.org/draft/2020-12/schema"
LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")  # of the page: it leads nowhere in an editor


def study_schema() -> Schema:
    """Returns the schema, with a description for every key of every section and reader."""
    schema = Study.model_json_schema()
    for section in sections():
        node = schema if section is Study else schema["$defs"].get(section.__name__, {})
        texts = explanations(section)
        for name, field in section.model_fields.items():
            key = node.get("properties", {}).get(field.alias or name)
            # A reader is explained by what its section says of itself.
            text = inspect.cleandoc(section.__doc__ or "") if name == "reader" else texts.get(name)
            if key is not None and text:
                form = f" Takes {key['description']}." if "description" in key else ""
                key["description"] = LINK.sub(r"\1", text) + form
    # A list alone is a grid, which a validator of the axis turns into one.
    axis = schema["$defs"]["Axis"]
    schema["$defs"]["Axis"] = {"anyOf": [axis["properties"]["grid"]["anyOf"][0], axis]}
    return {"$schema": DIALECT, "title": "A study", **schema}


def schema_text() -> str:
    """Returns the schema as the text of its file."""
    return json.dumps(study_schema(), indent=1, ensure_ascii=False) + "\n"
