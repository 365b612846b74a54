"""The `arrangement` section: which part of the pool is trained on, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)

from orchestrator.config.faults import describe, either, show, unknown_key
from orchestrator.config.section import Section, later
from orchestrator.core.arrangements import find_method, method_names
from orchestrator.core.arrangements.per_task import SELECTIONS as PER_TASK
from orchestrator.core.arrangements.residual import check_redundancy
from orchestrator.core.arrangements.searched import check_search
from orchestrator.core.measures import MEASURES

# The paper's arms, and one more order: NFT, FFT, RT and the sandwich are one set of rows.
ARMS = {
    "nft": {"selection": "both_ends", "order": "nearest_first"},
    "fft": {"selection": "both_ends", "order": "farthest_first"},
    "rt": {"selection": "both_ends", "order": "random"},
    "sandwich": {"selection": "both_ends", "order": "sandwich"},
    "min": {"selection": "nearest", "order": "nearest_first"},
    "max": {"selection": "farthest", "order": "farthest_first"},
}
BUDGETS = ("rows", "answer_tokens", "turns", "turn_window")
STRICT = ConfigDict(strict=True, allow_inf_nan=False)


def _known_method(name: str) -> str:
    if name not in method_names():
        hint = unknown_key(name, method_names()).replace("the keys here are", "choose")
        raise ValueError(f"method {name!r} does not exist: {hint}")
    find_method(name)
    return name


def _known_measure(name: str) -> str:
    if name not in MEASURES:
        raise ValueError(f"measure {name!r} does not exist: choose {', '.join(MEASURES)}")
    return name


def _one_of(names: Callable[[], Iterable[str]]) -> Any:
    """Says to editors, and in the reference, which names a key takes."""
    return Field(json_schema_extra=lambda schema: schema.update(enum=list(names())))


class Clusters(Section):
    """Groups of similar rows: the rungs between single instances and whole tasks."""

    clusters: PositiveInt
    """k-means groups of the pool's vectors."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Decides the k-means, apart from the trial's seed."""


class Arrangement(Section):
    """Selection and order; a key that the method does not read is refused."""

    method: Annotated[str, AfterValidator(_known_method), _one_of(method_names)] = "tma"
    """One of the [methods](README.md#methods)."""
    granularity: Literal["instance", "task"] | Clusters = "instance"
    """What is moved as one: a single row, all rows of a task, or a k-means group."""
    arm: Literal["nft", "fft", "rt", "sandwich", "min", "max"] | None = None
    """Short for selection and order, see [methods](README.md#methods)."""
    selection: Literal["nearest", "farthest", "both_ends", "random", "all", "polar", "uniform"] = (
        "all"
    )
    """Which rows; both_ends: half of the budget from each; polar and uniform: `per_task` of each
    task, half from each end or evenly spread by distance."""
    order: Literal["nearest_first", "farthest_first", "random", "sandwich"] = "nearest_first"
    """When the selected rows come; sandwich: near, far, near."""
    rows: PositiveInt | None = None
    """Budget in instances: whole turns until it is reached."""
    per_task: PositiveInt | None = later(None)
    """Instances of each task, for selection: polar and uniform (the authors' 20); a task that has
    no more comes whole."""
    answer_tokens: PositiveInt | None = later(None)
    """Budget in tokens that carry loss, under the trained model's tokenizer, template and
    max_length: as many whole rows as hold no more."""
    equal_lengths: bool = later(False)
    """Takes, in the order of the method, rows whose answers are as long as those of `rows` random
    ones: arms of one pool and seed then have equal rows and equal answer tokens."""
    turns: PositiveInt | None = None
    """Budget in whole turns; in a turn every query takes its nearest (farthest) free unit."""
    turn_window: (
        Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)] | None
    ) = None
    """`[i, j]`: turns i to j - 1 only, counted from 0 at the end that is selected."""
    cut: bool = True
    """Cut the last turn so that exactly `rows` instances remain, and uniform to exactly `per_task`;
    false: whole turns, and of uniform every k-th row, up to nearly twice as many, as the
    authors have it."""
    within_turn: Literal["row", "distance"] = "row"
    """What the units of one turn are sorted by: their row in the pool, or their distance."""
    measure: Annotated[str, AfterValidator(_known_measure), _one_of(lambda: MEASURES)] = (
        "cosine_min"
    )
    """What the methods measure and folding sort by."""
    options: Annotated[dict[str, Any], Field(description="the method's options")] = {}
    """The method's own, such as `folds: 3` of folding, or `path: order.txt` of given."""

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, given: Any) -> Any:
        """Puts selection and order in the place of an arm, and the options' defaults in theirs."""
        if not isinstance(given, dict):
            return given
        method, options = given.get("method", "tma"), given.get("options", {})
        if not isinstance(method, str) or method not in method_names():
            return given
        if given.get("arm") in list(ARMS) and "arm" in keys_read(method):
            given = _without_arm(given)
        if isinstance(options, dict):
            filled = _fill_options(method, options, find_method(method).options)
            if filled:
                given = {**given, "options": filled}
        return given

    @model_validator(mode="after")
    def _meaningful(self) -> Arrangement:
        reads = keys_read(self.method)
        unread = sorted(self.model_fields_set - reads)
        if unread:
            raise ValueError(
                f"method: {self.method} does not read {', '.join(unread)}: "
                f"leave {'it' if len(unread) == 1 else 'them'} out"
            )
        if self.rows is not None and self.answer_tokens is not None:
            raise ValueError("rows and answer_tokens both say how much: leave out one of them")
        if self.equal_lengths:
            self._check_equal_lengths(reads)
        if "selection" in reads:
            self._check_budget(reads)
        if self.method == "tma":
            check_redundancy(self.options["redundancy"], self.selection)
        if self.method == "searched":
            check_search(self.options)
        if self.turn_window is not None:
            first, end = self.turn_window
            if self.turns is not None or self.selection not in ("nearest", "farthest"):
                raise ValueError(
                    "turn_window counts turns from one end: set selection: nearest or farthest, "
                    "and leave out turns"
                )
            if first >= end:
                raise ValueError(f"turn_window: [{first}, {end}] holds no turn: [0, 5] holds five")
        return self

    def _check_equal_lengths(self, reads: frozenset[str]) -> None:
        method = find_method(self.method)
        if not (method.grows or method.fills_lengths):
            raise ValueError(
                f"equal_lengths takes rows in the order of the method, and with fewer rows method: "
                f"{self.method} plans others, not the first of them: leave it out"
            )
        if self.rows is None:
            raise ValueError("equal_lengths has a budget in rows: set it")
        others = [
            key for key in ("turns", "turn_window", "per_task") if getattr(self, key) is not None
        ]
        if others:
            raise ValueError(f"equal_lengths has a budget in rows alone: leave out {others[0]}")
        from_an_end = {("nearest", "nearest_first"), ("farthest", "farthest_first")}
        if "selection" in reads and (self.selection, self.order) not in from_an_end:
            raise ValueError(
                "equal_lengths takes rows from one end on: set selection: nearest and order: "
                "nearest_first, or farthest and farthest_first"
            )

    def _check_budget(self, reads: frozenset[str]) -> None:
        given = [key for key in BUDGETS if getattr(self, key) is not None]
        if self.selection in PER_TASK:
            self._check_per_task(reads, given)
            return
        if self.per_task is not None:
            raise ValueError(
                f"per_task is not for selection: {self.selection}: leave it out, or set selection: "
                "polar or uniform"
            )
        if self.selection == "all" and given:
            raise ValueError(
                f"selection: all takes the whole pool: leave out {' and '.join(given)}, or choose "
                "selection: nearest, farthest, both_ends or random"
            )
        if self.selection == "random" and given not in (["rows"], ["answer_tokens"]):
            raise ValueError(
                "selection: random has a budget in rows or answer_tokens alone: set one, no other"
            )
        if self.selection != "all" and not given:
            unfit = {"turn_window"} if self.selection == "both_ends" else set()
            fitting = [key for key in BUDGETS if key in reads - unfit]
            raise ValueError(f"selection: {self.selection} needs a budget: set {either(fitting)}")

    def _check_per_task(self, reads: frozenset[str], given: list[str]) -> None:
        if "per_task" not in reads:
            able = [name for name in method_names() if "per_task" in find_method(name).reads]
            raise ValueError(
                f"selection: {self.selection} sorts the rows of each task by a score, and method: "
                f"{self.method} has none: set method: {either(able)}"
            )
        if self.granularity != "instance":
            raise ValueError(
                f"selection: {self.selection} takes single rows of each task: leave out granularity"
            )
        if self.per_task is None or given:
            raise ValueError(
                f"selection: {self.selection} takes a number of rows of each task: set per_task"
                + (f" in place of {' and '.join(given)}" if given else "")
            )

    def least_rows(self) -> dict[str, int]:
        """Dotted key -> rows that the pool must have for its value."""
        wanted = {"arrangement.rows": self.rows}
        if isinstance(self.granularity, Clusters):
            wanted["arrangement.granularity.clusters"] = self.granularity.clusters
        return {key: count for key, count in wanted.items() if count is not None}

    @model_serializer(mode="wrap")
    def _without_unread_keys(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A dump that names keys which the method does not read could not be loaded again.

        Nor does it name options that came later and have their default, as by `section.later`.
        """
        kept, found = keys_read(self.method), find_method(self.method)
        dump = {key: value for key, value in handler(self).items() if key in kept}
        for option in found.later & dump.get("options", {}).keys():
            if dump["options"][option] == found.options[option]:
                del dump["options"][option]
        if found.later and not dump.get("options"):
            dump.pop("options", None)
        return dump


def keys_read(method: str) -> frozenset[str]:
    """Keys of the section that mean something to a method; all others are refused."""
    declared = find_method(method)
    options = {"options"} if declared.options else set()
    return declared.reads | {"method", "rows", "answer_tokens", "equal_lengths"} | options


def foreign_options(method: str) -> set[str]:
    """Options that other methods know and this one does not."""
    known: set[str] = set()
    for name in method_names():
        with suppress(ValueError):  # one that cannot be imported is refused where it is named
            known |= find_method(name).options.keys()
    return known - find_method(method).options.keys()


def _without_arm(given: dict[str, Any]) -> dict[str, Any]:
    arm = given["arm"]
    for key, value in ARMS[arm].items():
        if given.get(key, value) != value:
            raise ValueError(
                f"arm: {arm} means {key}: {value}; leave out {key}: {given[key]} or arm"
            )
    return {key: value for key, value in given.items() if key != "arm"} | ARMS[arm]


def _fill_options(method: str, given: dict[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a method; each is of the type of its default.

    Raises:
        ValueError: for one that is not the method's, of another type, or that is lacking.
    """
    filled = dict(known)
    for key, value in given.items():
        if key not in known:
            hint = unknown_key(key, list(known))
            raise ValueError(f"options.{key} is not an option of method: {method}: {hint}")
        kind: TypeAdapter[Any] = TypeAdapter(type(known[key]), config=STRICT)
        try:
            filled[key] = kind.validate_python(value)
        except ValidationError:
            accepted = describe(kind.json_schema(), {})
            example = f", such as {show(known[key])}" if known[key] != "" else ""
            raise ValueError(f"options.{key} is {show(value)}: give {accepted}{example}") from None
    if lacking := [key for key, value in filled.items() if value == ""]:
        raise ValueError(
            f"method: {method} needs {', '.join(f'options.{key}' for key in lacking)}: set it"
        )
    return filled
