"""pydantic's errors in the words of a study file: the key as written, the value, what to type."""

from __future__ import annotations

import difflib
import functools
import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from orchestrator.config.strict_yaml import KeyPath

Schema = dict[str, Any]  # JSON schema


@functools.cache
def _schema(model: type[BaseModel]) -> Schema:
    return model.model_json_schema()


def explain(error: ValidationError, model: type[BaseModel]) -> list[tuple[KeyPath, str]]:
    """The path of each faulty key as the user writes it, and a sentence about it."""
    root = _schema(model)
    sentences = dict.fromkeys(_explain(dict(item), root) for item in error.errors())
    # Of a mapping that may also be a name, what is wrong inside it says enough.
    around = {path[:end] for path, _ in sentences for end in range(len(path))}
    return [(path, sentence) for path, sentence in sentences if path not in around]


def dotted(path: KeyPath) -> str:
    # A key in quotes may hold control characters, which a terminal would obey.
    return ".".join(part if part.isprintable() else show(part) for part in map(str, path))


def show(value: Any) -> str:
    """A value as YAML would have it, in at most 60 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def either(options: Iterable[object]) -> str:
    *most, last = map(str, options)
    return f"{', '.join(most)} or {last}" if most else last


def unknown_key(key: str, siblings: list[str], elsewhere: Iterable[str] = ()) -> str:
    """What to say after `... is not a key`: the nearest name, its right place, or all names."""
    near = difflib.get_close_matches(key[:100], siblings, n=1)
    # The least deep first: what is asked for more often than the details of a detail.
    places = (name for name in elsewhere if name.split(".")[-1] == key)
    near += sorted(places, key=lambda name: name.count("."))
    if near:
        return f"did you mean {near[0]}?"
    return f"the keys here are {', '.join(siblings)}" if siblings else "no keys are read here"


def key_fault(path: KeyPath, model: type[BaseModel]) -> str | None:
    """What to say of a key that no variant of a model has; None if there is such a key."""
    root = _schema(model)
    nodes = [root]
    for depth, part in enumerate(path):
        variants = [variant for node in nodes for variant in _variants(node, root)]
        if any(variant.get("additionalProperties") for variant in variants):
            return None
        inside: list[Schema] = [variant.get("properties", {}) for variant in variants]
        nodes = [properties[part] for properties in inside if part in properties]
        if not nodes:
            siblings = list(dict.fromkeys(itertools.chain(*inside)))
            hint = unknown_key(str(part), siblings, _leaves(root, root))
            return f"{dotted(path[: depth + 1])} is not a key: {hint}"
    return None


def _variants(node: Schema, root: Schema) -> list[Schema]:
    """The kinds of value that a key may have, references followed."""
    node = _resolve(node, root)
    kinds = [*node.get("anyOf", []), *node.get("oneOf", [])]
    return [variant for kind in kinds for variant in _variants(kind, root)] if kinds else [node]


def _explain(error: dict[str, Any], root: Schema) -> tuple[KeyPath, str]:
    path, schema, parent = _locate(root, error["loc"])
    kind, value, name = error["type"], error["input"], dotted(path)
    if kind == "extra_forbidden":
        hint = unknown_key(str(path[-1]), list(parent.get("properties", {})), _leaves(root, root))
        return path, f"{name} is not a key: {hint}"
    if kind == "missing":
        return path, f"{name} is missing: give {describe(schema, root)}"
    if kind == "value_error":
        return path, f"{name}: {error['ctx']['error']}".removeprefix(": ")
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        union = schema["discriminator"]
        key, options = union["propertyName"], either(union["mapping"])
        given = f"is {show(value[key])}" if key in value else "is missing"
        return (*path, key), f"{name}.{key} {given}: give {options}"
    accepted = describe(schema, root)
    if kind == "string_type" and isinstance(value, int | float):
        accepted = f"text, in quotes: {show(str(value))}"
    return path, f"{name or 'the study'} is {show(value)}: give {accepted}"


def _locate(root: Schema, loc: tuple[str | int, ...]) -> tuple[KeyPath, Schema, Schema]:
    """The path without pydantic's names for the variants of a union, its schema, its parent's."""
    path: KeyPath = ()
    node = parent = root
    for left, part in zip(reversed(range(len(loc))), loc, strict=True):
        if "discriminator" in node:
            node = _resolve({"$ref": node["discriminator"]["mapping"][part]}, root)
            continue
        if several := _kinds(node):  # the fault is in one of them, or that none fits
            kind = next((kind for kind in several if _is_called(kind, str(part))), None)
            if kind is None or (not left and "discriminator" not in kind):
                break
            node = _resolve(kind, root)
            continue
        path, parent = (*path, part), node
        rest = node.get("items", node.get("additionalProperties"))
        child = node.get("properties", {}).get(part, rest)
        node = _resolve(child, root) if isinstance(child, dict) else {}
    return path, node, parent


def _kinds(node: Schema) -> list[Schema]:
    """The several kinds of value that a key takes; empty where it takes one."""
    return [] if "discriminator" in node else [*node.get("anyOf", []), *node.get("oneOf", [])]


def _is_called(kind: Schema, name: str) -> bool:
    """Whether pydantic, or a tag of ours, calls a kind of value so."""
    # One with validators is called function-after[_its_validator(), Kind].
    called = name.rpartition(", ")[2].rstrip("]")
    if "discriminator" in kind:
        return called == str(kind["discriminator"]["propertyName"])
    if "$ref" in kind:
        return str(kind["$ref"]).endswith(f"/{called}")
    return called == "list" and kind.get("type") == "array"


def _resolve(node: Schema, root: Schema) -> Schema:
    """Follows references, and steps into `X or null` where X has keys of its own."""
    if "$ref" in node:
        name = node["$ref"].removeprefix("#/$defs/")
        return _resolve(root["$defs"][name], root)
    kinds = [kind for kind in node.get("anyOf", []) if kind.get("type") != "null"]
    if len(kinds) == 1:
        inner = _resolve(kinds[0], root)
        return node if inner.get("type") in ("integer", "number", "string", "boolean") else inner
    return node


def _leaves(node: Schema, root: Schema, prefix: str = "") -> Iterator[str]:
    for name, child in node.get("properties", {}).items():
        yield prefix + name
        yield from _leaves(_resolve(child, root), root, f"{prefix}{name}.")


def describe(schema: Schema, root: Schema) -> str:
    """What a key accepts, in plain words."""
    schema = _resolve(schema, root)
    kind = schema.get("type")
    if several := _kinds(schema):
        kinds = [kind.get("enum", [describe(kind, root)]) for kind in several]
        return either(itertools.chain(*kinds))
    if "discriminator" in schema:
        union = schema["discriminator"]
        return f"a mapping with {union['propertyName']}: {either(union['mapping'])}"
    if "enum" in schema or "const" in schema:
        return either(schema.get("enum", [schema.get("const")]))
    if kind == "array":
        return _describe_list(schema, root)
    if kind == "object":
        keys = schema.get("properties", [schema.get("description", "dotted keys")])
        return f"a mapping of {', '.join(keys)}"
    words = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}
    text = str(schema.get("description", "text"))
    return (words | {"string": text}).get(kind or "", str(kind or "a value")) + _bounds(schema)


def _bounds(schema: Schema) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f" from {schema['minimum']} to {schema['maximum']}"
    if "exclusiveMinimum" in schema and "exclusiveMaximum" in schema:
        return f" above {schema['exclusiveMinimum']} and below {schema['exclusiveMaximum']}"
    if "exclusiveMinimum" in schema and "maximum" in schema:
        return f" above {schema['exclusiveMinimum']} and up to {schema['maximum']}"
    if "exclusiveMinimum" in schema:
        return f" above {schema['exclusiveMinimum']}"
    return f" of {schema['minimum']} or more" if "minimum" in schema else ""


def _describe_list(schema: Schema, root: Schema) -> str:
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    each = _resolve(schema.get("items", {}), root)
    # Of a list it is told beside one of its entries alone what that is.
    items = "such a mapping" if "discriminator" in each else describe(each, root)
    if least == most:
        return f"a list of {least}, each {items}"
    return f"a list of {least} or more, each {items}" if least else f"a list, each {items}"
