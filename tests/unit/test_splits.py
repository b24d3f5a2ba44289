import csv
from dataclasses import replace
from itertools import combinations, pairwise, permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from sentiment.errors import DataError
from sentiment.training.datasets import (
    RESERVED_TEXTS,
    Columns,
    Dataset,
    Example,
    comparison_key,
    read_examples,
)
from sentiment.training.splits import (
    NEAR_DUPLICATE_JACCARD,
    Part,
    Split,
    _similar_pairs,
    cluster,
    fold_examples,
    masked_key,
    part_of,
    read_split,
    similarity_words,
    split_examples,
    without_seen,
)

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
PHRASEBANK = DATA / "financial_phrasebank" / "Sentences_50Agree.txt"
TEACHER = DATA / "finbert_outputs.csv"

ALPHABET = [chr(letter) for letter in range(ord("a"), ord("a") + 16)]

untimed = settings(deadline=None)
"""Hypothesis would fail an example that takes 200 ms: claims here are not about time."""

fewer = settings(deadline=None, max_examples=40)
"""For claims about two lists of examples, or several folds of one."""


@st.composite
def word_sets(draw):
    """Sets of which many resemble each other: few sets, and variants with words exchanged."""
    words = st.sampled_from(ALPHABET)
    originals = draw(st.lists(st.frozensets(words, max_size=12), min_size=1, max_size=4))
    changes = st.tuples(st.sampled_from(originals), st.frozensets(words, max_size=2))
    return [original ^ changed for original, changed in draw(st.lists(changes, max_size=12))]


@st.composite
def example_lists(draw):
    """Examples with distinct texts: one file's or two files', some known to both.

    Several spellings of one set of words are a cluster whose members fall to several parts.
    """
    sets = draw(word_sets())
    spellings = draw(st.lists(st.permutations(ALPHABET), min_size=1, max_size=3))
    texts = [
        " ".join(sorted(words, key=spelling.index)) or "-"
        for words in sets
        for spelling in spellings
    ]
    files = draw(st.sampled_from([["a.csv"], ["a.csv", "a.csv", "b.csv", "a.csv b.csv"]]))
    return [example(text, source=draw(st.sampled_from(files))) for text in dict.fromkeys(texts)]


def distinct(count):
    """Examples of which no two resemble each other."""
    words = ["".join(pair) for pair in combinations(ALPHABET, 4)]
    return [example(f"{one} {other}") for one, other in pairwise(words[: count + 1])]


def example(text, *, source="a.csv"):
    return Example(text, (1.0, 0.0, 0.0), sources=frozenset(source.split()), soft=False)


def similar(left, right):
    """The definition, in whole numbers: four fifths of all words are shared."""
    return 5 * len(left & right) >= 4 * len(left | right)


def similar_pairs_one_by_one(sets):
    return {pair for pair in combinations(range(len(sets)), 2) if similar(*(sets[i] for i in pair))}


def components_one_by_one(sets):
    """Each set's cluster, named by its first member: labels spread until none changes."""
    labels = list(range(len(sets)))
    pairs = similar_pairs_one_by_one(sets)
    while True:
        for left, right in pairs:
            labels[left] = labels[right] = min(labels[left], labels[right])
        if all(labels[left] == labels[right] for left, right in pairs):
            return labels


def part_by_text(split):
    return {each.text: part for part in Part for each in split.part(part)}


def words_of(each):
    return similarity_words(each.text)


# Clusters


def test_the_threshold_is_what_these_tests_assume():
    assert NEAR_DUPLICATE_JACCARD == 4 / 5


@untimed
@given(word_sets())
def test_clusters_are_the_connected_components_of_all_pairs(sets):
    assert cluster(sets) == components_one_by_one(sets)


@untimed
@given(word_sets())
def test_every_similar_pair_is_found_once_and_no_other(sets):
    distinct = list(dict.fromkeys(sets))
    found = [tuple(sorted(pair)) for pair in _similar_pairs(distinct)]
    assert sorted(found) == sorted(similar_pairs_one_by_one(distinct))


def test_clusters_join_over_a_chain():
    first, last = "a b c d e f g h i", "b c d e f g h i j k"
    middle = "a b c d e f g h i j"
    sets = [frozenset(text.split()) for text in (first, last, middle)]
    assert not similar(sets[0], sets[1])
    assert cluster(sets[:2]) == [0, 1]
    assert cluster(sets) == [0, 0, 0]


def test_sets_at_the_threshold_are_similar_and_just_below_are_not():
    nine = frozenset("abcdefghi")
    assert cluster([nine, nine - {"a"} | {"j"}]) == [0, 0]  # 8 of 10 words
    eight = frozenset("abcdefgh")
    assert cluster([eight, eight - {"a"} | {"j"}]) == [0, 1]  # 7 of 9


# Parts


@untimed
@given(example_lists(), st.sampled_from([0.1, 0.25, 0.4]))
def test_no_near_duplicates_stand_in_different_parts(examples, held_out):
    split = split_examples(examples, held_out=held_out)
    for left, right in combinations(Part, 2):
        for one in split.part(left):
            for other in split.part(right):
                assert not similar(words_of(one), words_of(other)), (one.text, other.text)


@untimed
@given(example_lists())
def test_every_example_is_in_one_part_in_the_given_order(examples):
    split = split_examples(examples, held_out=0.3)
    placed = [each for part in Part for each in split.part(part)]
    assert sorted(placed, key=examples.index) == examples
    for part in Part:
        assert list(split.part(part)) == [each for each in examples if each in split.part(part)]


@untimed
@given(example_lists(), st.randoms(use_true_random=False))
def test_the_order_of_rows_matters_to_clusters_alone(examples, random):
    shuffled = random.sample(examples, len(examples))
    before = part_by_text(split_examples(examples, held_out=0.4))
    after = part_by_text(split_examples(shuffled, held_out=0.4))
    clusters = cluster([words_of(each) for each in examples])
    for each, first in zip(examples, clusters, strict=True):
        if clusters.count(first) == 1:
            assert after[each.text] == before[each.text]


@untimed
@given(example_lists(), st.integers(0, 20))
def test_appended_rows_move_a_text_only_by_joining_it_to_an_earlier_one(examples, count):
    # Or into training, when a row like it turns up in a second file.
    before = part_by_text(split_examples(examples[:count], held_out=0.4))
    after = part_by_text(split_examples(examples, held_out=0.4))
    clusters = cluster([words_of(each) for each in examples])
    earlier = cluster([words_of(each) for each in examples[:count]])
    for each, first, was in zip(examples, clusters, earlier, strict=False):
        if first == was and after[each.text] is not Part.TRAIN:
            assert after[each.text] is before[each.text]


@untimed
@given(example_lists())
def test_texts_of_two_files_and_what_resembles_them_are_never_held_out(examples):
    split = split_examples(examples, held_out=0.4)
    held_out = [words_of(each) for each in (*split.validation, *split.test)]
    for each in examples:
        if len(each.sources) == 2:
            assert each in split.train
            assert not any(similar(words_of(each), words) for words in held_out)


def test_near_duplicates_from_two_files_are_trained_on():
    text = next(
        text
        for text in (f"order number {word} won by the company" for word in ALPHABET)
        if part_of(masked_key(text), held_out=0.4) is Part.TEST
    )
    twin = text.replace("won by", "won  by:")
    alone = split_examples([example(text)], held_out=0.4)
    assert part_by_text(alone) == {text: Part.TEST}
    one_file = split_examples([example(text), example(twin)], held_out=0.4)
    assert part_by_text(one_file) == {text: Part.TEST, twin: Part.TEST}
    two_files = split_examples([example(text), example(twin, source="b.csv")], held_out=0.4)
    assert part_by_text(two_files) == {text: Part.TRAIN, twin: Part.TRAIN}


def test_a_cluster_goes_where_its_first_member_falls():
    spellings = [" ".join(words) for words in permutations(["profit", "of", "nokia", "rose"])]
    fall_to = {part_of(masked_key(text), held_out=0.3): text for text in spellings}
    assert set(fall_to) == set(Part)
    for first in Part:
        texts = [fall_to[first], *(fall_to[part] for part in Part if part is not first)]
        split = split_examples([example(text) for text in texts], held_out=0.3)
        assert part_by_text(split) == dict.fromkeys(texts, first)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Profit rose to EUR13.1 mn from EUR8.7 mn", "profit rose to eur0 0 mn from eur0 0 mn"),
        ("In 2009, 1,300 people.", "in 0 0 0 people"),
        ("Q3 up 5%", "q0 up 0"),
        ("٣ and ３ are threes", "0 and 0 are threes"),
        ("No number", "no number"),
    ],
)
def test_numbers_are_masked(text, masked):
    assert masked_key(text) == masked


@pytest.mark.parametrize("held_out", [0.1, 0.25, 0.4])
def test_one_sentence_with_many_years_stays_in_one_part(held_out):
    examples = [example(f"Operating profit of {year} rose by {year % 97} %") for year in range(500)]
    split = split_examples(examples, held_out=held_out)
    assert sorted(len(split.part(part)) for part in Part) == [0, 0, 500]


@pytest.mark.parametrize("held_out", [0.05, 0.1, 0.25, 0.4])
def test_parts_have_about_the_shares_asked_for(held_out):
    examples = distinct(1799)
    split = split_examples(examples, held_out=held_out)
    for part in (Part.VALIDATION, Part.TEST):
        # Four standard deviations of 1,800 draws.
        deviation = (held_out * (1 - held_out) / len(examples)) ** 0.5
        assert len(split.part(part)) / len(examples) == pytest.approx(held_out, abs=4 * deviation)


@untimed
@given(st.text(), st.floats(0.01, 0.4), st.floats(0.01, 0.4))
def test_a_smaller_share_holds_out_no_new_text(key, one, other):
    smaller, larger = sorted((one, other))
    if part_of(key, held_out=larger) is Part.TRAIN:
        assert part_of(key, held_out=smaller) is Part.TRAIN
    if part_of(key, held_out=smaller) is Part.TEST:
        assert part_of(key, held_out=larger) is Part.TEST


def test_no_examples_make_three_empty_parts():
    assert split_examples([]) == Split((), (), (), held_out=0.1)


# What the base or a teacher has seen


@fewer
@given(example_lists(), example_lists())
def test_what_was_seen_and_what_resembles_it_is_never_held_out(examples, seen):
    split = split_examples(examples, held_out=0.4, seen=seen)
    for each in (*split.validation, *split.test):
        for known in seen:
            assert not similar(words_of(each), words_of(known)), (each.text, known.text)


@fewer
@given(example_lists(), example_lists())
def test_seen_texts_are_in_no_part_and_move_others_to_training_alone(examples, seen):
    before = part_by_text(split_examples(examples, held_out=0.4))
    after = part_by_text(split_examples(examples, held_out=0.4, seen=seen))
    assert set(after) == {each.text for each in examples}
    for text, part in after.items():
        assert part in (before[text], Part.TRAIN)


@fewer
@given(example_lists(), example_lists())
def test_of_a_benchmark_remains_what_resembles_nothing_seen(examples, seen):
    new = without_seen(examples, seen=seen)
    clusters = cluster([words_of(each) for each in (*examples, *seen)])
    known = set(clusters[len(examples) :])
    assert list(new) == [
        each for each, first in zip(examples, clusters, strict=False) if first not in known
    ]


def test_a_benchmark_keeps_its_own_twins():
    twins = [example("Sales rose 5 %"), example("Sales rose 6 %")]
    assert without_seen(twins, seen=[example("Nothing alike")]) == tuple(twins)
    assert without_seen(twins, seen=[example("sales ROSE 7")]) == ()


SEPPALA = "Clothing chain Sepp{0}l{0} 's sales rose"
DAMAGE = [
    "+ñ",
    "+Æ",
    "+_",
    "ä",
    "a\N{COMBINING DIAERESIS}",
    "\N{REPLACEMENT CHARACTER}",
    "-á",
    "+\x84",
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_copies_that_differ_by_damaged_letters_are_near_duplicates(damage):
    assert similarity_words(SEPPALA.format(damage)) == similarity_words(SEPPALA.format("+ñ"))
    assert similarity_words(SEPPALA.format("a")) != similarity_words(SEPPALA.format("+ñ"))


def test_scripts_without_latin_letters_are_not_taken_for_damage():
    one, other = similarity_words("株価が上昇した"), similarity_words("売上が減少した")
    assert one != other
    assert similarity_words("Курс-акций вырос") != similarity_words("Курс-облигаций вырос")


# Folds


@fewer
@given(example_lists(), st.integers(2, 5), example_lists())
def test_each_text_is_tested_in_one_fold_or_never_held_out(examples, folds, seen):
    splits = list(fold_examples(examples, folds=folds, held_out=0.3, seen=seen))
    assert len(splits) == folds
    by_text = [part_by_text(split) for split in splits]
    never = [words_of(each) for each in (*seen, *(e for e in examples if len(e.sources) == 2))]
    for each in examples:
        parts = [found[each.text] for found in by_text]
        if any(similar(words_of(each), words) for words in never):
            assert parts == [Part.TRAIN] * folds
        elif parts != [Part.TRAIN] * folds:
            assert parts.count(Part.TEST) == 1
            assert len(set(parts) - {Part.TEST}) == 1  # for validation always, or never


@fewer
@given(example_lists(), st.integers(2, 5))
def test_no_fold_divides_near_duplicates(examples, folds):
    for split in fold_examples(examples, folds=folds, held_out=0.3):
        parts = part_by_text(split)
        for left, right in combinations(examples, 2):
            if similar(words_of(left), words_of(right)):
                assert parts[left.text] is parts[right.text]


@fewer
@given(example_lists(), st.integers(0, 20), st.integers(2, 5))
def test_appended_rows_leave_a_text_in_its_fold(examples, count, folds):
    before = [part_by_text(s) for s in fold_examples(examples[:count], folds=folds)]
    after = [part_by_text(s) for s in fold_examples(examples, folds=folds)]
    clusters = cluster([words_of(each) for each in examples])
    earlier = cluster([words_of(each) for each in examples[:count]])
    for each, first, was in zip(examples, clusters, earlier, strict=False):
        parts = [fold[each.text] for fold in after]
        if first == was and Part.TEST in parts:
            assert parts == [fold[each.text] for fold in before]


def test_folds_and_their_validation_parts_are_about_equal():
    examples = distinct(1800)
    for folds in (2, 5, 10):
        for split in fold_examples(examples, folds=folds, held_out=0.1):
            tested, rest = len(split.test), len(split.train) + len(split.validation)
            assert tested == pytest.approx(1800 / folds, abs=4 * (1800 / folds) ** 0.5)
            assert len(split.validation) == pytest.approx(rest / 10, abs=4 * (rest / 10) ** 0.5)


def test_the_first_of_ten_folds_tests_what_a_split_at_a_tenth_tests():
    examples = distinct(500)
    first = next(fold_examples(examples, folds=10))
    assert first.test == split_examples(examples, held_out=0.1).test


# What a split says of itself


def test_the_digest_tells_which_texts_are_held_out_whatever_their_order_and_dress():
    examples = distinct(100)
    split = split_examples(examples, held_out=0.2)
    backwards = split_examples(examples[::-1], held_out=0.2)
    louder = [replace(each, text=each.text.upper() + " !") for each in split.test]
    assert split.sha256 == backwards.sha256 == replace(split, test=tuple(louder)).sha256
    assert split.sha256 == replace(split, train=()).sha256
    others = [
        replace(split, test=split.test[1:]),
        replace(split, validation=split.validation[1:]),
        replace(split, test=split.validation, validation=split.test),
        split_examples(examples, held_out=0.1),
    ]
    assert len({split.sha256, *(other.sha256 for other in others)}) == 5


def test_a_digest_stays_the_same_for_ever():
    """Records of models hold it."""
    assert split_examples([example(text) for text in PINNED]).sha256 == (
        "6c2ba6ab47acf567f9e8698c8ea6e6066df80d5d0fec03e415ac5ae586411dd1"
    )


def test_a_split_with_an_empty_part_is_refused_before_training():
    split = split_examples(distinct(100), held_out=0.2)
    for part in Part:
        with pytest.raises(DataError, match="the training, validation or test part is empty"):
            replace(split, **{part: ()}).check_trainable()


def test_one_label_alone_is_refused_before_training_and_two_are_not():
    split = split_examples(distinct(100), held_out=0.2)
    with pytest.raises(DataError, match=r"every text to train on is positive; .* at least two"):
        split.check_trainable()
    other = replace(split.train[0], target=(0.2, 0.5, 0.3), soft=True)
    replace(split, train=(*split.train[1:], other)).check_trainable()


@pytest.mark.parametrize("column", ["headline", "text"])
def test_files_are_read_and_split_in_one_call(tmp_path, column):
    data, seen = tmp_path / "data.csv", tmp_path / "seen.csv"
    rows = [each.text for each in distinct(200)]
    data.write_text("headline,label\n" + "".join(f"{text},positive\n" for text in rows))
    seen.write_text(f"{column},label\n" + "".join(f"{text},neutral\n" for text in rows[:100]))
    columns = Columns(text="headline")
    dataset, split = read_split([data], held_out=0.4, columns=columns, seen=[seen])
    assert set(dataset.sha256) == {"data.csv"}
    assert [each.text for each in dataset.examples] == rows
    assert split == split_examples(dataset.examples, held_out=0.4, seen=dataset.examples[:100])
    assert {each.text for each in split.test} < set(rows[100:])


PINNED = {
    "Exports rose .": Part.TEST,
    "EXPORTS shrank": Part.TEST,
    "Orders in Q2 halved .": Part.VALIDATION,
    "Net loss of EUR 17.9 mn halved .": Part.VALIDATION,
    "Talvivaara raised its forecast": Part.VALIDATION,
    "Operating profit rose to EUR 13.1 mn from EUR 8.7 mn .": Part.TRAIN,
    "The company did not disclose the price .": Part.TRAIN,
    "Nokia cut 1,000 jobs": Part.TRAIN,
}


@pytest.mark.parametrize(("text", "part"), PINNED.items())
def test_a_text_falls_to_the_same_part_for_ever(text, part):
    """A model was trained on these parts: another hash would test it on what it has read."""
    assert part_by_text(split_examples([example(text)])) == {text: part}


# Published data


@pytest.fixture(scope="module")
def published():
    missing = [str(path) for path in (PHRASEBANK, TEACHER) if not path.is_file()]
    if missing:
        pytest.skip(f"no {' and no '.join(missing)}")
    return read_examples([PHRASEBANK, TEACHER])


@pytest.fixture(scope="module")
def published_split(published: Dataset):
    return split_examples(published.examples)


@pytest.mark.nightly
def test_published_near_duplicates_stand_in_one_part(published_split):
    parts = [
        (index, each) for index, part in enumerate(Part) for each in published_split.part(part)
    ]
    assert len(parts) > 20_000
    crossing = pairs_across([part for part, _ in parts], [words_of(each) for _, each in parts])
    assert [(parts[i][1].text, parts[j][1].text) for i, j in crossing] == []


def test_no_part_holds_a_text_of_the_documentation(published, published_split):
    keys = {comparison_key(text) for text in RESERVED_TEXTS}
    assert published.reserved > 0
    for part in Part:
        assert not [
            each.text for each in published_split.part(part) if comparison_key(each.text) in keys
        ]


def test_what_the_teacher_read_of_phrasebank_is_not_held_out(published_split):
    held_out = {each.sources for each in (*published_split.validation, *published_split.test)}
    assert held_out == {frozenset({PHRASEBANK.name}), frozenset({TEACHER.name})}
    assert any(len(each.sources) == 2 for each in published_split.train)


def test_no_phrasebank_sentence_that_the_teacher_file_holds_is_held_out(published_split):
    """Eleven of the 499 differ by damaged letters, so that they are no exact copies."""
    with TEACHER.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "FPB sentence"]
    assert len(rows) == 499
    parts = {comparison_key(text): part for text, part in part_by_text(published_split).items()}
    assert {parts[comparison_key(row["text"])] for row in rows} == {Part.TRAIN}
    known = {words_of(example(row["text"])) for row in rows}
    bank = [each for part in Part for each in published_split.part(part) if not each.soft]
    copies = [each for each in bank if words_of(each) in known]
    assert {parts[comparison_key(each.text)] for each in copies} == {Part.TRAIN}
    exact = {comparison_key(row["text"]) for row in rows}
    damaged = [e for e in copies if comparison_key(e.text) not in exact and "+" in e.text]
    assert len({words_of(each) for each in damaged}) == 11


@pytest.mark.nightly
def test_all_four_phrasebank_files_give_the_split_of_the_widest(published_split):
    paths = [*sorted(PHRASEBANK.parent.glob("Sentences_*.txt")), TEACHER]
    assert len(paths) == 5
    dataset, split = read_split(paths)
    assert split.sha256 == published_split.sha256
    agreements = [each.agreement for each in dataset.examples if each.agreement]
    assert [agreements.count(level) for level in (100, 75, 66, 50)] == [2259, 1188, 761, 627]


def pairs_across(parts, sets):
    """Every similar pair of sets in different parts, by comparing all that could be.

    A pair's shared words are an entry of the product of the word matrix with itself. Only
    sets of nearly equal size can be similar, which bounds the product to be made.
    """
    order = sorted(range(len(sets)), key=lambda index: len(sets[index]))
    vocabulary = {word: column for column, word in enumerate(sorted(frozenset().union(*sets)))}
    columns = [vocabulary[word] for index in order for word in sets[index]]
    sizes = np.array([len(sets[index]) for index in order])
    matrix = csr_matrix(
        (np.ones(len(columns), dtype=np.int32), columns, np.concatenate([[0], sizes.cumsum()]))
    )
    part = np.array([parts[index] for index in order])
    crossing = []
    for size in np.unique(sizes):
        start, middle = np.searchsorted(sizes, [size, size + 1])
        end = np.searchsorted(sizes, size * 5 // 4, side="right")
        for first in range(start, middle, 500):
            rows = slice(first, min(first + 500, middle))
            shared = (matrix[rows] @ matrix[start:end].T).tocoo()
            left, right = shared.row + first, shared.col + start
            union = sizes[left] + sizes[right] - shared.data
            found = (5 * shared.data >= 4 * union) & (part[left] != part[right])
            pairs = zip(left[found], right[found], strict=True)
            crossing += [(order[one], order[other]) for one, other in pairs]
    return crossing
