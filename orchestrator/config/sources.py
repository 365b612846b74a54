"""The `data` section: where instances come from, and what is kept of them.

Each reader brings its own part of it: a subclass of `SourceOptions` in the reader's file. That file
is imported only when a study names the reader, by its name, because this room lies below `data`.
"""

from __future__ import annotations

from functools import cache, partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PositiveInt,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema, SchemaValidator, core_schema

from orchestrator.config.hold_out import HoldOut
from orchestrator.config.mixture import OF_LISTS, list_fault, mixture_fault, source_name
from orchestrator.config.section import Fraction, Section, later

# The readers of this project: each is the file orchestrator/data/readers/<name>.py.
READERS = (
    "builtin",
    "jsonl",
    "parquet",
    "flan_mini",
    "niv2",
    "p3",
    "sharegpt",
    "no_robots",
    "ultrachat",
    "hf",
)
# A package of your own adds one under this entry-point group: the entry's name is the reader's,
# its object a module that defines what `orchestrator.data.readers.Reader` lists.
ENTRY_POINTS = "orchestrator.readers"
FUNCTIONS = ("blocks", "instance", "content")  # of a reader's module, beside its SECTION


class Tasks(Section):
    """Which tasks of a source are read, as shell patterns (`*`, `?`, `[...]`)."""

    include: Annotated[list[str], Field(min_length=1)] = ["*"]
    """Names of those that are read."""
    exclude: list[str] = []
    """Names of those among them that are not."""


class SourceOptions(Section):
    """What every reader understands. A reader's own section adds `reader: Literal["<name>"]`."""

    # Options that say where the bytes lie: a data set stays the same when they move.
    PLACES: ClassVar[frozenset[str]] = frozenset()

    max_per_task: PositiveInt | None = None
    """Instances kept of each task; null: all."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Which ones are kept: a sample drawn with this seed; null: the first. Also decides what of a
    source in a list is taken, null there: as 0."""
    max_turns: PositiveInt = 1
    """User/assistant pairs kept of a conversation (paper: 1)."""
    max_chars: PositiveInt | None = None
    """Characters of all messages together; null: any number."""
    too_long: Literal["drop", "cut"] = "drop"
    """What becomes of an instance beyond max_chars."""
    tasks: Tasks = Tasks()
    """Which tasks are read."""
    bad_records: Literal["error", "skip"] = "error"
    """What becomes of a record that cannot be read; skipped ones are counted by reason."""
    source: (
        Annotated[
            str,
            Field(
                pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
                description="letters, digits, _ or -, a letter or digit first",
            ),
        ]
        | None
    ) = None
    """In a list under data.pool: its name in the reports and before each of its ids; null: that of
    its file, folder or data set."""
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """In such a list: the part of the pool that is drawn from it."""
    weight: Annotated[float, Field(gt=0)] | None = None
    """In such a list: how much of what the shares leave is drawn from it, beside other weights."""
    rows: PositiveInt | None = None
    """In such a list: how many instances are drawn from it. Without share, weight and rows: all."""
    roles: Literal["pairs", "all"] = later("pairs")
    """Turns of a conversation that are kept. pairs: of user and assistant; a leading system message
    goes before the first prompt, and a record with tool turns is a bad one. all: system and tool
    turns, too, in order and without loss; the template has to have a place for them."""

    if TYPE_CHECKING:  # a field here would stand before the others in every study that is written
        reader: str

    @property
    def drawn(self) -> bool:
        """Whether a part of the source is taken, in a list."""
        return not (self.share is None and self.weight is None and self.rows is None)

    @model_validator(mode="after")
    def _sampled(self) -> SourceOptions:
        if self.seed is not None and self.max_per_task is None and not self.drawn:
            raise ValueError("seed chooses max_per_task instances of each task: set max_per_task")
        return self

    @model_serializer(mode="wrap")
    def _without_keys_of_lists(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A source that stands alone is what it was before there were lists, and so is its digest.
        return {
            key: value
            for key, value in handler(self).items()
            if key not in OF_LISTS or value is not None
        }


class FileSource(SourceOptions):
    """What every reader of files understands.

    Each file is read as what its first bytes say: JSON Lines, an array or objects of JSON, packed
    by gzip, bzip2, xz or zstd or not, Parquet or Arrow. A folder that `save_to_disk` of datasets
    wrote is one of Arrow files.
    """

    PLACES: ClassVar[frozenset[str]] = frozenset({"path"})

    path: str
    """A file, a folder or a pattern such as `data/*.jsonl.gz`."""


def reader_names() -> list[str]:
    """Every reader there is: those of this project, then those of installed packages."""
    return [*READERS, *(name for name in _installed() if name not in READERS)]


def find_reader(name: str) -> Any:
    """The module of a reader, an `orchestrator.data.readers.Reader`.

    Raises:
        ValueError: an installed package declares it, and it cannot be imported or is something
            else.
    """
    if name in READERS:
        return import_module(f"orchestrator.data.readers.{name}")
    entry = _installed()[name]
    try:
        module = entry.load()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"reader {name!r}: the entry point {entry.value}: {error}") from error
    section = getattr(module, "SECTION", None)
    lacking = [] if _is_section(section) else ["SECTION, a subclass of SourceOptions"]
    lacking += [part for part in FUNCTIONS if not callable(getattr(module, part, None))]
    if lacking:
        raise ValueError(
            f"reader {name!r}: the entry point {entry.value} lacks {', '.join(lacking)}: make it a "
            "module with what orchestrator.data.readers.Reader lists"
        )
    return module


def _is_section(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, SourceOptions)


def reader_version(name: str) -> str | None:
    """Name and version of the installed package that a reader comes from; None for one of here."""
    entry = None if name in READERS else _installed().get(name)
    return f"{entry.dist.name} {entry.dist.version}" if entry and entry.dist else None


@cache
def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


class _SectionOfReader:
    """Tells pydantic that the key `reader` says which class a source is validated by."""

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[SourceOptions], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_validated)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The schema that error messages are worded from; it imports every reader."""
        sections = {name: _known_section(name).__pydantic_core_schema__ for name in reader_names()}
        return handler(core_schema.tagged_union_schema(sections, discriminator="reader"))


def _validated(value: Any) -> SourceOptions:
    source: SourceOptions = _by_reader().validate_python(value)
    return source


@cache
def _by_reader() -> SchemaValidator:
    """A union that imports a reader when a source names it."""
    choices: dict[Any, CoreSchema] = {
        name: core_schema.no_info_plain_validator_function(partial(_validated_by, name))
        for name in reader_names()
    }
    return SchemaValidator(core_schema.tagged_union_schema(choices, discriminator="reader"))


def _validated_by(reader: str, value: Any) -> Any:
    return find_reader(reader).SECTION.model_validate(value)


def _known_section(reader: str) -> type[SourceOptions]:
    """The section of a reader; what all of them share, of one that cannot be imported."""
    try:
        section: type[SourceOptions] = find_reader(reader).SECTION
    except ValueError:
        return SourceOptions
    return section


Source = Annotated[SourceOptions, _SectionOfReader]
# The tag of what is no Source is where `faults` looks for its schema.
Pool = Annotated[
    Annotated[Source, Tag("reader")] | Annotated[list[Source], Field(min_length=1), Tag("list")],
    Discriminator(lambda value: "list" if isinstance(value, list) else "reader"),
]


def _kind_of_held_out(value: Any) -> str:
    if isinstance(value, dict):
        keys = {"from", *HoldOut.model_fields}
        return "HoldOut" if keys & value.keys() and "reader" not in value else "reader"
    return "HoldOut" if isinstance(value, HoldOut) else "reader"


HeldOut = Annotated[
    Annotated[Source, Tag("reader")] | Annotated[HoldOut, Tag("HoldOut")],
    Discriminator(_kind_of_held_out),
]


class Data(Section):
    """The pool and the test sets."""

    pool: Pool
    """Training instances, of one source or of several."""
    query: Source
    """Test instances that the arrangement may see."""
    held_out: HeldOut | None = None
    """Test instances that it never sees: a source, or a part of the pool or of the query set."""
    off_target: Source | None = None
    """Test instances of unrelated tasks, to show harm."""
    leakage: Literal["error", "drop", "allow"] = "error"
    """What becomes of pool rows that are also test rows: shared tasks, or prompts that are equal or
    differ only in case, white space and sentence punctuation."""
    near_duplicate: Fraction = 0.95
    """Cosine from which the report counts a pool row as nearly a test row."""

    @property
    def hold_out(self) -> HoldOut | None:
        """How the held-out set is drawn; None where it has a source, or there is none."""
        return self.held_out if isinstance(self.held_out, HoldOut) else None

    @property
    def pool_sources(self) -> dict[str, SourceOptions]:
        """The sources of the pool by name; that of one that stands alone is ""."""
        if isinstance(self.pool, list):
            return {source_name(source): source for source in self.pool}
        return {"": self.pool}

    @property
    def test_sets(self) -> dict[str, SourceOptions | HoldOut]:
        """The test sets that there are, by name."""
        sets = {"query": self.query, "held_out": self.held_out, "off_target": self.off_target}
        return {name: given for name, given in sets.items() if given is not None}

    @model_validator(mode="after")
    def _can_be_mixed(self) -> Data:
        alone = {name: value for name, value in self if isinstance(value, SourceOptions)}
        faults = [list_fault(name, source) for name, source in alone.items()]
        if isinstance(self.pool, list):
            faults.append(mixture_fault(self.pool))
        if found := [fault for fault in faults if fault]:
            raise ValueError("; ".join(found))
        return self
