"""A trained folder becomes the output, at once or not at all."""

import json
import shutil
from pathlib import Path
from typing import Any

from sentiment.training.splits import Split


def promote(
    work: Path, output: Path, *, split: Split, record: dict[str, Any], golden: Path | None = None
) -> dict[str, Any]:
    """Move the model folder `work` to `output`, in whose place an older one may stand.

    Returns:
        `record`, as it stands in `training.json`.

    Raises:
        OSError: the disk is full or cannot be written; `output` is as it was.
    """
    text = json.dumps(record, indent=2, allow_nan=False)
    (work / "training.json").write_text(text + "\n", encoding="utf-8")
    old = output.with_name(f"{output.name}.old")
    if output.exists():
        if old.exists():
            shutil.rmtree(old)
        output.rename(old)
    work.rename(output)
    shutil.rmtree(old, ignore_errors=True)
    return record
