"""One rank of a training on several processes (`lm/ranks.py`): torchrun runs this module, with the work directory."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main(work_dir: Path) -> int:
    from tripost_core.config import RanksConfig, TrackingConfig
    from tripost_core.errors import TripostError
    from tripost_core.lm.ranks import PROGRESS, REQUEST, RESULT, ROWS
    from tripost_core.lm.train import train_rank

    first = os.environ.get("RANK", "0") == "0"
    request = json.loads((work_dir / REQUEST).read_text())
    rows = [json.loads(line) for line in (work_dir / ROWS).open(encoding="utf-8")]

    def progress(what: str, done: int, total: int) -> None:
        if first:
            print(PROGRESS + json.dumps([what, done, total]), flush=True)

    try:
        result = train_rank(
            request["student_dir"],
            rows,
            request["config"],
            request["num_steps"],
            request["seed"],
            work_dir,
            progress,
            RanksConfig.model_validate(request["ranks"]),
            TrackingConfig.model_validate(request["tracking"]),
            request["label"],
        )
    except TripostError as error:
        # Whichever rank is first: the others follow from it.
        _write(work_dir / RESULT, {"error": str(error), "kind": type(error).__name__})
        return 2
    if first:
        _write(work_dir / RESULT, result.as_dict())
    return 0


def _write(path: Path, content: dict[str, object]) -> None:
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(content))
    os.replace(temporary, path)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
