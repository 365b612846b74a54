"""The keys of a study file as one page, written from the types that read it.

    python -m orchestrator.config.reference > experiments/REFERENCE.md

What a key accepts is said in the words of `faults`, what it means by the text below its field.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, get_args, get_origin

from orchestrator.config.faults import Schema, describe
from orchestrator.config.schema import Study
from orchestrator.config.section import Section
from orchestrator.config.sources import READERS, Data, SourceOptions, find_reader

TOP = """\
# The study file

Every key, what it takes, its default and its meaning. A study needs `study` and `data`. Unknown
keys and wrong types are refused, all of them at once. Any value can be set from the command line by
its dotted key, as in `--set training.workers=2`; `--with OVERLAY.yaml` lays a partial study over a
study, key by key.

Editors (VS Code with the YAML extension, Neovim, JetBrains) complete, check and explain the keys by
the JSON schema that `orchestrator schema > study.schema.json` writes, where the study beside it
begins with the line `# yaml-language-server: $schema=study.schema.json`.

`python -m orchestrator.config.reference > experiments/REFERENCE.md` writes this page from the types
in `orchestrator/config/`: change those, not the page."""
COLUMNS = "| Key | What it takes | Default | Meaning |\n| --- | --- | --- | --- |"
BAR = r"\|"  # a cell's own
READERS_TITLE = """\
### Readers

What `data.pool`, `.query`, `.held_out` and `.off_target` take; [this table](README.md#readers) says
what each of them reads. Keys of all readers:"""


def page() -> str:
    """Returns the whole page of reference, as Markdown."""
    return "\n\n".join([TOP, *_section(Study, "")]) + "\n"


def readers() -> dict[str, type[Section]]:
    """The section of each reader, by the reader's name."""
    return {name: find_reader(name).SECTION for name in READERS}


def sections() -> list[type[Section]]:
    """The study, the readers, and all sections inside them, by name."""
    known: set[type[Section]] = set()
    new: set[type[Section]] = {Study, *readers().values()}
    while new:
        known |= new
        fields = [field for section in new for field in section.model_fields.values()]
        new = {inner for field in fields for inner in sections_in(field.annotation)} - known
    return sorted(known, key=lambda section: section.__name__)


def explanations(section: type[Section]) -> dict[str, str]:
    """The text below each field of a section, also of fields that it inherits, on one line."""
    texts: dict[str, str] = {}
    for part in reversed(section.__mro__):
        if part is Section or not issubclass(part, Section):
            continue
        (source,) = ast.parse(textwrap.dedent(inspect.getsource(part))).body
        assert isinstance(source, ast.ClassDef)
        for field, text in pairwise(source.body):
            match field, text:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(words))),
                ):
                    texts[name] = " ".join(words.split())
    return texts


def _section(section: type[Section], path: str) -> Iterator[str]:
    """Heading, explanation and table of a section, then the same of those inside it."""
    if path:
        yield from (f"{'#' * (2 + path.count('.'))} {path}", *_explained(section))
    yield _table(section, section.model_fields, path)
    for name, field in section.model_fields.items():
        for inner in sections_in(field.annotation):
            if not issubclass(inner, SourceOptions):
                yield from _section(inner, f"{path}.{name}".removeprefix("."))
    if section is Data:
        yield from _readers()


def _readers() -> Iterator[str]:
    """The keys that all readers have, those of each one, and the sections inside them."""
    known = readers()
    first, *others = (section.model_fields for section in known.values())
    common = [key for key in first if key != "reader" and all(key in fields for fields in others)]
    yield from (READERS_TITLE, _table(next(iter(known.values())), common, ""))
    inside: dict[type[Section], str] = {}
    for name, section in known.items():
        own = [key for key in section.model_fields if key not in {*common, "reader"}]
        yield from (f"#### reader: {name}", *_explained(section))
        if own:
            yield _table(section, own, "")
        for key, field in section.model_fields.items():
            inside |= dict.fromkeys(sections_in(field.annotation), key)
    for section, key in inside.items():
        yield from (f"#### {key}", *_explained(section), _table(section, section.model_fields, ""))


def sections_in(annotation: Any) -> list[type[Section]]:
    """The sections that a value of this type may be, or hold."""
    if isinstance(annotation, type) and not get_args(annotation):
        return [annotation] if issubclass(annotation, Section) else []
    return [section for inner in get_args(annotation) for section in sections_in(inner)]


def _table(section: type[Section], keys: Iterable[str], path: str) -> str:
    schema, texts = section.model_json_schema(), explanations(section)
    lines = [COLUMNS]
    for key in keys:
        field = section.model_fields[key]
        written = field.alias or key
        node = schema["properties"][written]
        default = "required" if field.is_required() else _written(node["default"])
        accepted = _accepted(field.annotation, node, schema, f"{path}.{key}")
        cells = (f"`{written}`", accepted, default, texts.get(key, ""))
        lines.append(f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |")
    return "\n".join(lines)


def _accepted(annotation: Any, node: Schema, root: Schema, path: str) -> str:
    """What a key takes, with a link to the sections that it may hold."""
    accepted, place = describe(node, root), path.replace(".", "")
    if accepted.startswith("a mapping with reader: "):
        accepted = re.sub(r"^a mapping with reader: .*? or \w+", "[a reader](#readers)", accepted)
        accepted = re.sub(r"a mapping of .*", f"[a section](#{place})", accepted)
    elif sections_in(annotation):
        plain = accepted.startswith("a mapping of ") and get_origin(annotation) is not dict
        accepted = f"[a section](#{place})" if plain else f"{accepted}, [see below](#{place})"
    nullable = {"type": "null"} in node.get("anyOf", []) and not accepted.endswith("null")
    return f"{accepted} or null" if nullable else accepted


def _written(default: Any) -> str:
    """A default as a study file would have it; that of a section is its keys' own."""
    if isinstance(default, dict) and default:
        return ""
    text = default if isinstance(default, str) and default.isprintable() else json.dumps(default)
    return f"`{text}`"


def _explained(section: type[Section]) -> list[str]:
    return [inspect.cleandoc(section.__doc__)] if section.__doc__ else []


if __name__ == "__main__":
    print(page(), end="")
