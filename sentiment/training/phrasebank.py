"""Financial PhraseBank as its authors published it (Malo et al. 2014): `sentence@label`.

It comes as four nested files: every sentence of `Sentences_66Agree.txt` stands in
`Sentences_50Agree.txt` too, and so on. They are one source, and the strongest file that a
sentence stands in says how far its annotators agreed.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from sentiment.errors import DataError
from sentiment.training.rows import Line, decode, read_lines

AGREEMENTS = {
    "Sentences_50Agree.txt": 50,
    "Sentences_66Agree.txt": 66,
    "Sentences_75Agree.txt": 75,
    "Sentences_AllAgree.txt": 100,
}
"""Published file -> at least this percentage of the 5 to 8 annotators chose the label."""


def read_sentences(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield row, sentence and label (as written) of an ISO-8859-1 file.

    The last `@` separates: a sentence may hold one. Some sentences hold damaged Finnish
    letters ("Sepp+ñl+ñ"); they stay, because FinBERT was trained on them as they are.

    Raises:
        DataError: a row is no `sentence@label`, or the file is UTF-8, which would be read as
            other letters without any sign of it.
    """
    for line in read_lines(path):
        if not line.content.isascii():
            _refuse_utf8(line, path)
        text = decode(line, path, "ISO-8859-1")
        if not text.strip():
            continue
        sentence, separator, label = text.strip().rpartition("@")
        if not separator or not sentence.strip():
            raise DataError(f"{path}:{line.number}: expected `sentence@label`")
        yield line.number, sentence.strip(), label.strip().lower()


def stronger_names(name: str) -> tuple[str, ...]:
    """Return the published files that say more of the sentences in the file of that name."""
    own = AGREEMENTS.get(name, 0)
    return tuple(each for each, agreement in AGREEMENTS.items() if agreement > own)


def stronger_files(path: Path) -> tuple[Path, ...]:
    """Return the published files that lie beside a `.txt` file and are stronger than it."""
    if path.suffix.lower() != ".txt":
        return ()
    beside = (path.with_name(name) for name in stronger_names(path.name))
    return tuple(each for each in beside if each.is_file())


def read_agreements(path: Path) -> dict[tuple[str, str], int]:
    """Return the agreement on each (sentence, label) of the `stronger_files` beside `path`."""
    return {
        (sentence, label): AGREEMENTS[sibling.name]
        for sibling in stronger_files(path)
        for _, sentence, label in read_sentences(sibling)
    }


def source_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the name of the source that each file belongs to: its own, or the widest
    published PhraseBank file among `paths`, if it is one of those."""
    nested = sorted((p.name for p in paths if p.name in AGREEMENTS), key=AGREEMENTS.__getitem__)
    return {path: nested[0] if path.name in AGREEMENTS else path.name for path in paths}


def _refuse_utf8(line: Line, path: Path) -> None:
    try:
        line.content.decode()
    except UnicodeDecodeError:
        return  # as it should be: no letter of ISO-8859-1 alone is UTF-8
    at = next(at for at, byte in enumerate(line.content) if byte > 127)
    raise DataError(
        f"{path}:{line.number}: byte {line.start + at} begins a letter in UTF-8; expected "
        "ISO-8859-1, as PhraseBank is published; convert it, or make it a .csv"
    )
