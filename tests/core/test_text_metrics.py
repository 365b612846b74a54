"""ROUGE and exact match against values worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from orchestrator.core.text_metrics import (
    TEXT_METRICS,
    best_score,
    exact_match,
    rouge_1,
    rouge_l,
)


def test_rouge_1_counts_shared_stems_and_rouge_l_their_longest_common_order():
    prediction, reference = "the cats sat down", "Down the cat sat on it."
    # 4 stems of 4 and of 6 are shared: precision 1, recall 2/3. In order: the, cat, sat.
    assert rouge_1(prediction, reference) == pytest.approx(2 * 4 / (4 + 6))
    assert rouge_l(prediction, reference) == pytest.approx(2 * 3 / (4 + 6))


def test_a_repeated_word_counts_as_often_as_the_reference_has_it():
    assert rouge_1("no no no no", "no") == pytest.approx(2 * 1 / (4 + 1))


def test_rouge_matches_stems_of_words_with_different_endings():
    assert rouge_1("running", "runs") == rouge_l("connected", "connecting") == 1.0


@pytest.mark.parametrize(
    ("prediction", "reference", "score"),
    [
        ("Paris.", "  paris ", 1.0),
        ("New\n  York!", "new york", 1.0),
        ("it's", "Its", 1.0),
        ("the cat", "cat", 0.0),  # SQuAD itself would leave the article out
        ("Paris, France", "Paris", 0.0),
        ("", "...", 1.0),
    ],
)
def test_exact_match_ignores_case_punctuation_and_space_but_not_articles(
    prediction, reference, score
):
    assert exact_match(prediction, reference) == score


@given(st.text(), st.text())
def test_scores_are_shares_and_do_not_depend_on_which_text_is_the_reference(one, other):
    for _, metric in TEXT_METRICS.values():
        assert 0.0 <= metric(one, other) <= 1.0
        assert metric(one, other) == pytest.approx(metric(other, one))
        words = [word for word in one.split() if word.isascii() and word.isalnum()]
        assert not words or metric(one, one) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("prediction", "reference", "score"),
    [
        ("Москва большой город", "большой город", 2 * 2 / (3 + 2)),
        ("Μεγάλη ΠΌΛΗ", "μεγάλη πόλη", 1.0),
        ("किताब अच्छी है", "किताब बुरी है", 2 * 2 / (3 + 3)),  # vowel signs stay in their words
        ("東京都", "京都", 2 * 2 / (3 + 2)),  # characters where no spaces part words
        ("กรุงเทพ", "กรุงเทพ", 1.0),
        ("слон", "кот", 0.0),
        ("It runs на Linux", "it is running на Linux", 2 * 4 / (4 + 5)),  # Latin words are stems
    ],
)
def test_rouge_1_knows_words_of_every_alphabet(prediction, reference, score):
    assert rouge_1(prediction, reference) == pytest.approx(score)


@given(st.text(st.sampled_from("aAbé zZ9ñß_-.,'²ªłệ\n")), st.text(st.sampled_from("aAbé zZ9ñß_-.")))
def test_texts_in_the_latin_alphabet_are_scored_as_by_rouge_itself(prediction, reference):
    for kind, score in {"rouge1": rouge_1, "rougeL": rouge_l}.items():
        rouge = RougeScorer([kind], use_stemmer=True).score(reference, prediction)
        assert score(prediction, reference) == rouge[kind].fmeasure


def test_the_best_score_is_that_of_the_nearest_reference():
    for name, metric in TEXT_METRICS.items():
        assert best_score(metric, "a dog", ["two cats", "a dog", "a"]) == 1.0, name
        assert best_score(metric, "a dog", ["two cats"]) == 0.0, name
