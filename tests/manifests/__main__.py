"""Write every variant of the manifests into a folder: `python -m tests.manifests FOLDER`."""

import sys
from pathlib import Path

from tests.manifests.reading import VARIANTS, text_of


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    for variant in VARIANTS:
        (folder / f"{variant}.yaml").write_text(text_of(variant))


if __name__ == "__main__":
    main()
