"""The built-in task suite: instructions with computed answers, the same on every machine.

For first studies and tests on a CPU: no download, about fifty tokens an instance. It is not a
benchmark: prompts come from a few templates a task, so figures say how arrangements compare, not
how good a model is.

Each query and held-out task has pool tasks of its own domain; off-target tasks have none.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.data.instance import Instance, single_turn
from orchestrator.data.suite import (
    arithmetic,
    categories,
    dates,
    dialogues,
    grammar,
    inference,
    lists,
    numbers,
    off_target,
    passages,
    programs,
    reviews,
    strings,
    tables,
    translation,
)
from orchestrator.data.suite.task import Task

# The order in which tasks are read. Rows of a data set follow it, so add tasks at the end.
SUITE: dict[str, tuple[Task, ...]] = {
    "pool": (
        arithmetic.shopping_total,
        arithmetic.change_due,
        arithmetic.travel_distance,
        arithmetic.rectangle_area,
        arithmetic.average_score,
        numbers.next_number,
        numbers.round_to_ten,
        numbers.number_in_words,
        strings.count_consonants,
        strings.count_letter,
        strings.spell_backwards,
        strings.letter_at_position,
        strings.acronym,
        lists.sort_numbers,
        lists.sort_words,
        lists.common_item,
        lists.item_at_position,
        dates.month_after,
        dates.arrival_time,
        dates.iso_date,
        dates.convert_units,
        translation.english_to_french,
        translation.english_to_german,
        translation.french_to_english,
        grammar.synonym,
        grammar.plural_form,
        grammar.past_tense,
        grammar.comparative_form,
        grammar.sentence_order,
        reviews.restaurant_review_sentiment,
        reviews.product_complaint,
        reviews.app_stars,
        dialogues.bank_intent,
        dialogues.emotion,
        dialogues.invitation_accepted,
        tables.table_lookup,
        tables.table_total,
        tables.table_count_above,
        programs.python_arithmetic,
        programs.python_string,
        programs.python_branch,
        categories.name_category,
        categories.category_member,
        categories.same_category,
        inference.greatest_of_three,
        inference.rule_applies,
        inference.claim_check,
        passages.passage_city,
        passages.passage_job,
        passages.passage_year,
    ),
    "query": (
        arithmetic.discount_price,
        strings.count_vowels,
        dates.weekday_after,
        translation.english_to_spanish,
        grammar.antonym,
        reviews.movie_review_sentiment,
        tables.table_highest,
        programs.python_slice,
        categories.odd_one_out,
        inference.syllogism,
    ),
    "held_out": (
        arithmetic.split_bill,
        strings.replace_letter,
        translation.english_to_italian,
        reviews.hotel_recommendation,
    ),
    "off_target": (
        off_target.transpose_note,
        off_target.dna_complement,
        off_target.rook_check,
        off_target.ship_heading,
    ),
}

INSTANCES_PER_TASK = {"pool": 24, "query": 8, "held_out": 8, "off_target": 8}


def read(split: str) -> Iterator[Instance]:
    """The instances of a split, task by task, each of one prompt and one answer.

    Args:
        split: `pool` (50 tasks of 24), `query` (10 of 8), `held_out` or `off_target` (4 of 8).

    Raises:
        ValueError: no such split.
    """
    if split not in SUITE:
        raise ValueError(f"no split {split!r} in the built-in suite: use {', '.join(SUITE)}")
    return (
        single_turn(f"{task.name}-{i:02d}", task.name, prompt, answer)
        for task in SUITE[split]
        for i, (prompt, answer) in enumerate(task.examples(INSTANCES_PER_TASK[split]))
    )
