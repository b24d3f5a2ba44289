"""Several files of labelled texts as one data set: every text once, with all its sources."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sentiment.errors import DataError
from sentiment.manifest import file_sha256
from sentiment.predictions import LABELS
from sentiment.training.examples import Example, comparison_key
from sentiment.training.phrasebank import AGREEMENTS, source_names, stronger_files, stronger_names
from sentiment.training.readers import Columns, read_file

__all__ = [
    "RESERVED_TEXTS",
    "Columns",
    "Conflict",
    "Dataset",
    "Example",
    "comparison_key",
    "read_examples",
]

RESERVED_TEXTS = (
    "Stocks rallied and the British pound gained.",
    "The economy showed significant growth.",
    "Investors are optimistic about the market.",
    "The company announced record profits and expansion plans.",
)
"""The documentation's examples. Never trained on, so that what the README shows is a
prediction and not a memory."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two rows with one text and two labels; the first of them counts."""

    text: str
    """As the row that was kept has it."""
    kept: str
    """Label of the row that was kept."""
    other: str
    kept_at: str
    """File and row of it, `name:row`."""
    other_at: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """What `read_examples` made of the files, and what it left out."""

    examples: tuple[Example, ...]
    sha256: dict[str, str]
    """Digest of each file, by name."""
    agreement_sha256: dict[str, str]
    """Digest of each published PhraseBank file that was read, beside one of those above, only for
    how far the annotators agreed; by name. None of its texts is in the data by that."""
    rows: int
    duplicates: int
    """Rows whose text (case, punctuation and white space aside) stood in an earlier row."""
    conflict_list: tuple[Conflict, ...]
    """Duplicates with another label than the row that was kept."""
    reserved: int
    """Rows left out because they are `RESERVED_TEXTS`."""

    @property
    def conflicts(self) -> int:
        """Number of `conflict_list`."""
        return len(self.conflict_list)

    def check_agreements(self) -> None:
        """See that of some text more is known than that it stands in the file that was named.

        Raises:
            DataError: the annotators of all texts agreed equally far, as far as is known; says
                which files would tell.
        """
        for example in self.examples:
            own = max((AGREEMENTS.get(name, 0) for name in example.sources), default=0)
            if example.agreement is not None and example.agreement > own:
                return
        named = [name for name in self.sha256 if name in AGREEMENTS]
        widest = min(named, key=AGREEMENTS.__getitem__, default=None)
        first = min(AGREEMENTS, key=AGREEMENTS.__getitem__)
        beside = ", ".join(stronger_names(widest or first))
        if widest is None:
            said = f"no file of Financial PhraseBank, such as {first} with {beside} beside it"
        elif not beside:
            said = f"all annotators agreed on {widest}; {first} is not named"
        else:
            said = f"{widest} alone does not say how far annotators agreed: put {beside} beside it"
        raise DataError(said)


def read_examples(paths: Sequence[Path], *, columns: Columns | None = None) -> Dataset:
    """Read labelled files, in order; of a text that occurs twice the first row counts.

    A hard label therefore wins over a teacher's if its file is named first. The nested files
    of PhraseBank count as one source, so naming two makes no text known to two files; of
    equal labels the strongest agreement is kept.

    Args:
        columns: of every file that is a table; each is looked for by its usual name without.

    Raises:
        DataError: a file cannot be read, or a row makes no sense; names file and row.
    """
    names = [path.name for path in paths]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"two files are named {', '.join(repeated)}; records go by name")
    sources = source_names(paths)
    reserved_keys = {comparison_key(text) for text in RESERVED_TEXTS}
    kept: dict[str, Example] = {}
    kept_at: dict[str, str] = {}
    conflicts: list[Conflict] = []
    rows = reserved = 0
    for path in paths:
        for number, row in read_file(path, columns):
            example = replace(row, sources=frozenset({sources[path]}))
            rows += 1
            key, at = comparison_key(example.text), f"{path.name}:{number}"
            if key in reserved_keys:
                reserved += 1
            elif (first := kept.get(key)) is None:
                kept[key], kept_at[key] = example, at
            else:
                kept[key] = _merged(first, example)
                if first.label != example.label:
                    conflicts.append(
                        Conflict(
                            text=first.text,
                            kept=LABELS[first.label],
                            other=LABELS[example.label],
                            kept_at=kept_at[key],
                            other_at=at,
                        )
                    )
    if not kept:
        raise DataError(f"no labelled text in {', '.join(map(str, paths)) or 'no file'}")
    return Dataset(
        examples=tuple(kept.values()),
        sha256={path.name: file_sha256(path) for path in paths},
        agreement_sha256=_agreement_digests(paths),
        rows=rows,
        duplicates=rows - reserved - len(kept),
        conflict_list=tuple(conflicts),
        reserved=reserved,
    )


def _agreement_digests(paths: Sequence[Path]) -> dict[str, str]:
    """Return the digests of the files that `read_agreements` read beside `paths`.

    Raises:
        DataError: two of one name differ, and records go by name.
    """
    digests: dict[str, str] = {}
    for sibling in sorted({each for path in paths for each in stronger_files(path)}):
        digest = file_sha256(sibling)
        if digests.setdefault(sibling.name, digest) != digest:
            raise DataError(f"{sibling}: another folder of the data has another file of this name")
    return digests


def _merged(first: Example, other: Example) -> Example:
    agreement = first.agreement
    if other.agreement is not None and other.label == first.label and not first.soft:
        agreement = max(agreement or 0, other.agreement)
    return replace(first, sources=first.sources | other.sources, agreement=agreement)
