"""YAML as a study may use it: plain values of YAML 1.2, nothing that runs, nothing that multiplies.

PyYAML follows YAML 1.1, where `no` is false, `010` is eight, `1:30` is ninety and `1e-5` is text.
Its parser is used for the syntax alone; what a plain word means is decided by `PLAIN`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import yaml

KeyPath = tuple[str | int, ...]
Fault = tuple[int, str]  # line, sentence

MAX_BYTES = 1_000_000
MAX_DEPTH = 20

_NUMBER = r"(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
# Tag, what it looks like, and its value: the core schema of YAML 1.2. Whole numbers of more than
# 99 digits are read as floats: Python would take quadratic time over them.
PLAIN: list[tuple[str, re.Pattern[str], Callable[[str], Any]]] = [
    ("null", re.compile(r"^(~|null|Null|NULL|)$"), lambda text: None),
    ("bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), lambda t: t.lower() == "true"),
    ("int", re.compile(r"^[-+]?[0-9]{1,99}$"), int),
    ("int", re.compile(r"^0x[0-9a-fA-F]{1,99}$"), lambda text: int(text, 16)),
    ("int", re.compile(r"^0o[0-7]{1,99}$"), lambda text: int(text, 8)),
    ("float", re.compile(rf"^[-+]?{_NUMBER}$"), float),
    ("float", re.compile(r"^[-+]?\.(inf|Inf|INF)$"), lambda text: float(text.replace(".", ""))),
    ("float", re.compile(r"^\.(nan|NaN|NAN)$"), lambda text: float("nan")),
]


def parse(text: str) -> tuple[Any, dict[KeyPath, int], list[Fault]]:
    """Reads one YAML document.

    Returns:
        The value (None if the text is unsafe or not YAML), the line of each key and list item,
        counted from 1, and the faults with their lines.
    """
    reader = _Reader(text)
    try:
        value = reader.document()
    except _StopReading:
        return None, {}, reader.faults
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        return None, {}, [*reader.faults, (_line(mark), f"not readable as YAML: {problem}")]
    return (value if reader.safe else None), reader.lines, reader.faults


def dump(value: dict[str, Any]) -> str:
    """YAML that `parse` reads back as the same value; keys keep their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def dump_line(value: dict[str, Any]) -> str:
    """The same on one line, between braces."""
    return yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True,
        default_flow_style=True, width=math.inf,
    ).strip()  # fmt: skip


class _StopReading(Exception):
    """What follows cannot be made sense of; the reader's faults say why."""


class _Reader:
    """Builds values straight from the parser's events, so that nothing is built from an alias."""

    def __init__(self, text: str) -> None:
        between = (yaml.StreamStartEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent)
        events = yaml.parse(text, Loader=yaml.SafeLoader)
        self._events = (event for event in events if not isinstance(event, between))
        self.lines: dict[KeyPath, int] = {}
        self.faults: list[Fault] = []
        self.safe = True

    def document(self) -> Any:
        first = next(self._events)
        if isinstance(first, yaml.StreamEndEvent):
            return None
        value = self._value(first, ())
        second = next(self._events)
        if not isinstance(second, yaml.StreamEndEvent):
            self._refuse(second, "a second YAML document starts here: keep one")
        return value

    def _refuse(self, event: yaml.Event, sentence: str) -> None:
        self.safe = False
        self.faults.append((_line(event.start_mark), sentence))

    def _check(self, event: yaml.Event) -> None:
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, f"*{anchor} is a YAML alias: repeat the value, or quote the text")
        elif anchor:
            self._refuse(event, f"&{anchor} is a YAML anchor: leave it out, or quote the text")
        if tag:
            self._refuse(event, f"{tag!r} is a YAML tag: leave it out, or quote the text")
        if isinstance(event, yaml.ScalarEvent) and re.search("[\ud800-\udfff]", event.value):
            self._refuse(event, f"{event.value!r} holds half a character: write all of it")

    def _value(self, event: yaml.Event, path: KeyPath) -> Any:
        self._check(event)
        self.lines.setdefault(path, _line(event.start_mark))
        if len(path) > MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH} levels, as no key of a study is")
            raise _StopReading
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return _scalar(event) if isinstance(event, yaml.ScalarEvent) else None

    def _sequence(self, path: KeyPath) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            values.append(self._value(event, (*path, len(values))))
        return values

    def _mapping(self, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            self._check(key)
            if not isinstance(key, yaml.ScalarEvent):
                self._refuse(key, "a key must be text, not a list, a mapping or an alias")
                raise _StopReading
            here, line = (*path, key.value), _line(key.start_mark)
            if key.value in values:
                first = self.lines[here]
                self.faults.append(
                    (line, f"{key.value} is given twice, first in line {first}: keep one")
                )
            self.lines.setdefault(here, line)
            values.setdefault(key.value, self._value(next(self._events), here))
        return values


def _scalar(event: yaml.ScalarEvent) -> Any:
    if event.style is None:  # neither in quotes nor a block
        for _, pattern, convert in PLAIN:
            if pattern.match(event.value):
                return convert(event.value)
    return event.value


def _line(mark: Any) -> int:
    return mark.line + 1 if mark else 1


class _Dumper(yaml.SafeDumper):
    """Quotes text that `PLAIN` would read as something else, and escapes line ends in it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = None if data.isprintable() else '"'  # PyYAML loses U+0085 in other styles
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)
for _tag, _pattern, _ in PLAIN:
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, None)
