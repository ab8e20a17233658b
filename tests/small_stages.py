"""Stages that take no time and follow the contract of the real ones, so that the pipeline around them can be seen.

    python tests/small_stages.py OUTPUT STUDENT [SECONDS]

runs the flow with them in this process, as `tripost run` does; training takes SECONDS.
"""

import sys
import time
from pathlib import Path
from types import ModuleType

from tripost_core.config import RunConfig
from tripost_core.stages import STAGES, StageResult

NUM_ROUNDS = 2  # of editing, until no trajectory is open


def make_student(directory):
    """A checkpoint directory whose only content is its size."""
    import numpy as np
    from safetensors.numpy import save_file

    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text("{}")
    save_file({"weight": np.zeros(3, dtype=np.float32)}, directory / "model.safetensors")
    return directory


def make_config(student, iterations=1, **parts):
    return RunConfig.model_validate({"student": {"model": str(student)}, "iterations": iterations, **parts})


class SmallStages:
    """Counts its calls by label, and fails where it is told to: `errors[label]` are raised one by one."""

    def __init__(self, num_improvements=100, train_seconds=0.0):
        self.calls = []
        self.errors = {}
        self.num_improvements = num_improvements
        self.train_seconds = train_seconds

    def module(self, stage):
        module = ModuleType(f"tripost_core.stages.{stage}")
        module.run = lambda context: self._run(stage, context)
        return module

    def _run(self, stage, context):
        label = context.request.label
        self.calls.append(label)
        if self.errors.get(label):
            raise self.errors[label].pop(0)
        context.progress("units", 1, 2)
        return getattr(self, stage)(context)

    def problems(self, context):
        row = {"problem_id": "p", "task": "toy", "subtask": "s", "seen": True, "question": "q", "answer": "1"}
        rows = [{**row, "split": "train", "rationale": "(1) r"}]
        return StageResult("problems-1", rows, num_in=1, num_kept=1, metrics={"by_split": {"train": 100}})

    def generate(self, context):
        return StageResult("trajectories-2", num_in=1, num_kept=1, metrics={"num_open": 1})

    def feedback(self, context):
        num_open = int(context.params["round"] < NUM_ROUNDS)
        return StageResult("trajectories-2", num_in=1, num_kept=1, metrics={"num_open": num_open})

    improve = gather = demonstrate = generate

    def select(self, context):
        return StageResult("rows-1", num_in=5, num_kept=3, rows=[
            {"row_id": "r", "bucket": "own", "kind": "x_T", "problem_id": "p", "triplet_id": None, "iteration": 1,
             "segments": [{"role": "prompt", "text": "q"}, {"role": "attempt", "text": "a"}]}
        ][: self.num_improvements])  # fmt: skip

    def filter(self, context):
        metrics = {"num_improvements": self.num_improvements}
        return StageResult("triplets-1", num_in=9, num_kept=8, dropped={"too_long": 1}, metrics=metrics)

    def balance(self, context):
        return StageResult("rows-1", num_in=8, num_kept=8)

    def train(self, context):
        import numpy as np
        from safetensors.numpy import save_file

        time.sleep(self.train_seconds)
        directory = make_student(context.work_dir / "checkpoint")
        save_file({"weight": np.full(3, hash_of(context.request.key))}, directory / "model.safetensors")
        return StageResult(checkpoint=directory, metrics={"num_steps": 5, "losses": []})

    def evaluate(self, context):
        half = {"seen": 0.5, "unseen": 0.5, "total": 0.5}
        figures = {"n": {"seen": 2, "unseen": 2, "total": 4}, "accuracy": half, "by_subtask": {}}
        return StageResult("answers-2", num_in=4, num_kept=4, metrics={"eval": figures})


def hash_of(text):
    return float(sum(text.encode()))


def main():
    output, student, *seconds = sys.argv[1:]
    stages = SmallStages(train_seconds=float(seconds[0]) if seconds else 0.0)
    sys.modules |= {f"tripost_core.stages.{stage}": stages.module(stage) for stage in STAGES}
    import tripost_core.report
    from flows.in_process import run

    tripost_core.report.write_report = lambda record, output: None
    record = run(make_config(Path(student)), Path(output))
    print(",".join(stages.calls), record.finished)


if __name__ == "__main__":
    main()
