"""Stage `rationales`: gold rationales that no file and no script gives, written by the expert model (Appendix A)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from tripost_core.buffers import read_rows
from tripost_core.config import ExpertConfig
from tripost_core.editing import problem_of
from tripost_core.errors import DataError
from tripost_core.experts.base import NoAnswer
from tripost_core.experts.editors import LLMEditor, open_editor
from tripost_core.stages import StageContext, StageResult


def run(context: StageContext) -> StageResult:
    """Config: `ExpertConfig`; params: `task`; input: `problems`. Output: `problems-1`, every row of the input, training
    rows with a rationale where the expert's was right and consistent.

    `dropped` counts, by reason, training questions that have no rationale: they are attempted, but give no gold row.
    Raises DataError where not one is left.
    """
    config = ExpertConfig.model_validate(context.config)
    editor = open_editor(config, context.params["task"], context.seed, context.request.means, context.secrets)
    assert isinstance(editor, LLMEditor), "a script's rationales stand in the problems already"
    rows = read_rows(context.inputs["problems"])
    missing = [row for row in rows if row["split"] == "train" and not row["rationale"]]
    problems = [replace(problem_of(row), split=row["split"]) for row in missing]
    written = editor.rationales(problems, context.progress)
    found = {row["problem_id"]: text for row, text in zip(missing, written, strict=True) if isinstance(text, str)}
    dropped = Counter(answer.reason for answer in written if isinstance(answer, NoAnswer))
    after = [{**row, "rationale": row["rationale"] or found.get(row["problem_id"])} for row in rows]
    num_train = sum(row["split"] == "train" for row in rows)
    if num_train == dropped.total():
        reasons = ", ".join(f"{reason} {n}" for reason, n in dropped.most_common())
        raise DataError(f"The expert wrote no usable rationale for any of {num_train} training questions: {reasons}.")
    return StageResult(
        schema="problems-1",
        rows=after,
        num_in=num_train,
        num_kept=num_train - dropped.total(),
        dropped=dict(dropped),
        metrics={"num_asked": len(missing), "num_written": len(found)},
        expert=editor.figures(),
    )
