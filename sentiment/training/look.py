"""How every plot looks, whatever it shows. With `plots` the door to matplotlib."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Told apart with any colour vision (Okabe and Ito 2008, "Color universal design")."""

DPI = 120

STYLE: Any = {
    "text.parse_math": False,  # a name may hold a dollar sign
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "0.6",
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "legend.frameon": False,
}


@contextmanager
def house_look() -> Iterator[None]:
    """Draw in the house's style inside the block."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # A name may be in a script that the font lacks: boxes are no reason for noise.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        yield


def save(figure: Figure, path: Path) -> str:
    """Write a PNG, of the same figure always the same bytes; return its file's name.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    # The software's version would make two reports of one result differ.
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    return path.name
