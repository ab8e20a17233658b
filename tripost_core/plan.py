"""A run as stage requests: which part of the configuration and which buffers each stage of Algorithm 1 reads.

Knows nothing of how stages are run. The flow asks for a request, has it executed, and hands the reference on; `RunPlan`
notes every output, and its record is what the report, `tripost show` and a later start of the same run read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tripost_core.buffers import Ref, join, read_manifest, write_file
from tripost_core.config import CONTINUED, RATIONALE, RunConfig, TrainConfig
from tripost_core.errors import DataError
from tripost_core.problems.splits import file_digests
from tripost_core.record import Entry, RunRecord, base_student, fingerprint, prompts_identity
from tripost_core.stages import StageRequest

WORKINGS_VERSIONS = {"multistep_arithmetic": 4, "word_sorting": 6}
"""Raised when an expert with `checks` says something else: part of the keys of what it says, of nothing else."""


class RunPlan:
    """Builds the requests of one run in `output` (a directory) and notes what came of them. Raises ConfigError where
    an expert model has no usable prompts."""

    def __init__(self, config: RunConfig, output: str | Path) -> None:
        self.config = config
        self.output = Path(output).absolute()
        local = self.output.as_uri() if "%" not in self.output.as_uri() else str(self.output)
        shared = config.compute.store
        own = (self.output.name,) if config.compute.store_by_run else ()
        self.store = join(shared, *own, "stages") if shared else join(local, "stages")
        self.record = RunRecord(
            run_id=self.output.name,
            config=config.model_dump(mode="json"),
            config_fingerprint=fingerprint(config),
            prompts=prompts_identity(config),
        )

    # -- requests, in the order of Algorithm 1 ---------------------------------------------------------------------

    def problems(self) -> StageRequest:
        """Questions of all splits; the content of question files is part of the key. Raises DataError."""
        files = file_digests(self.config.data)
        return self._request(
            "problems",
            "problems",
            config=self.config.data.model_dump(mode="json"),
            params={"files": files} if files else {},
        )

    @property
    def asks_for_rationales(self) -> bool:
        """Whether an expert model writes the gold rationales that are missing."""
        return self.config.expert.rationales == "expert"

    def rationales(self, problems: Ref) -> StageRequest:
        """Gold rationales for training questions that have none."""
        return self._request(
            "rationales",
            f"{RATIONALE}/rationales",
            config=self.config.expert.results_part(),
            params=self._prompts(),
            inputs={"problems": problems},
            means=self._calls(),
        )

    def gold_rows(self, problems: Ref) -> StageRequest:
        """Training rows of iteration 0: the gold rationales."""
        return self._request("balance", f"{RATIONALE}/balance", params={"iteration": 0}, inputs={"problems": problems})

    def worked_rows(self, problems: Ref) -> StageRequest:
        """The gold rationales, with every operation worked out as in the expert's updates."""
        return self._request(
            "balance",
            "workings/balance",
            params={"iteration": 0, **self._workings()},
            inputs={"problems": problems},
        )

    def train_rationale(self, rows: Ref) -> StageRequest:
        """ft rationale, from the student of the configuration."""
        base = base_student(self.config)
        self.record.base_digest = base.digest
        return self._train(f"{RATIONALE}/train", self.config.rationale, base, rows, 0)

    def generate(self, name: str, student: Ref, problems: Ref, iteration: int) -> list[StageRequest]:
        """The student's trajectories for the iteration's prompts: one request, or one for each shard of them."""
        sampling, number = self.config.sampling, self.config.compute.generate_shards
        fresh = {"part": [iteration - 1, self.config.iterations]} if sampling.fresh_prompts else {}
        # A vote is over all samples, so those that say the same are needed.
        votes = self.config.method == "lmsi" and self.config.lmsi.keep == "majority"
        every = {"keep_duplicates": True} if votes else {}
        return [
            self._request(
                "generate",
                f"{name}/generate" + (f"-shard-{shard}" if number > 1 else ""),
                config=self._writes(sampling),
                params={"iteration": iteration, **fresh, **every, **({"shard": [shard, number]} if number > 1 else {})},
                inputs={"student": student, "problems": problems},
                means={"engine": self.config.engine.model_dump(mode="json")},
            )
            for shard in range(number)
        ]

    def gather(self, name: str, shards: list[Ref], iteration: int) -> StageRequest:
        """The trajectories of all shards as one buffer, the same as without shards."""
        inputs = {f"shard-{number}": shard for number, shard in enumerate(shards)}
        return self._request("gather", f"{name}/generate", params={"iteration": iteration}, inputs=inputs)

    def select(self, name: str, trajectories: Ref, iteration: int) -> StageRequest:
        """LMSI: the training rows that the student's own attempts give."""
        return self._request(
            "select",
            f"{name}/select",
            config=self.config.lmsi.model_dump(mode="json", include={"keep", "formats"}),
            params={"iteration": iteration},
            inputs={"trajectories": trajectories},
        )

    def demonstrate(self, name: str, problems: Ref, judged: Ref) -> StageRequest:
        """ft SI. demo: the expert's own attempts. `judged`: the student's, whose favourite errors are left out."""
        return self._request(
            "demonstrate",
            f"{name}/demonstrate",
            config={**self.config.si_demo.model_dump(mode="json"), "expert": self.config.expert.results_part()},
            params={"iteration": 1, **self._workings(), **self._prompts()},
            inputs={"problems": problems, **({"judged": judged} if self.config.expert.kind == "script" else {})},
            means=self._calls(),
        )

    def feedback(self, name: str, trajectories: Ref, iteration: int, round_: int) -> StageRequest:
        """FBK on every trajectory that is not yet judged to its end; round 0 edits the student's own."""
        return self._expert(name, "feedback", trajectories, iteration, round_)

    def improve(self, name: str, trajectories: Ref, iteration: int, round_: int) -> StageRequest:
        """IMP on every open trajectory; rounds count from 1."""
        return self._expert(name, "improve", trajectories, iteration, round_)

    def filter(self, name: str, trajectories: Ref, student: Ref, iteration: int) -> StageRequest:
        """Triplets, each kept or dropped for a reason. The student's tokenizer measures lengths."""
        return self._request(
            "filter",
            f"{name}/filter",
            config=self.config.filter.model_dump(mode="json"),
            params={"iteration": iteration, **self._workings()},
            inputs={"trajectories": trajectories, "student": student},
        )

    def balance(self, name: str, triplets: list[Ref], problems: Ref, iteration: int) -> StageRequest:
        """Training rows of this iteration from the triplets of all iterations so far."""
        return self._request(
            "balance",
            f"{name}/balance",
            config=self.config.balance.model_dump(mode="json"),
            params={"iteration": iteration, **self._workings()},
            inputs={"problems": problems, **{f"triplets-{i}": ref for i, ref in enumerate(triplets, 1)}},
        )

    def train(self, name: str, student: Ref, rows: Ref, iteration: int) -> StageRequest:
        """Weighted supervised learning from the previous iteration's student."""
        return self._train(f"{name}/train", self.config.train, student, rows, iteration)

    def train_continued(self, student: Ref, gold: Ref, like: Ref | None, iteration: int) -> StageRequest:
        """Gold rationales only, for as many optimiser steps as TriPosT took in the same iteration (`like`), or for
        `train.num_epochs` passes where there is nothing to be like."""
        num_steps = None if like is None else metrics_of(like)["num_steps"]
        label = f"{CONTINUED}/train-{iteration}"
        # Gold has no improvements, so runs that treat these differently share what continues from gold alone.
        usual = TrainConfig()
        config = self.config.train.model_copy(
            update={"improvement_weight": usual.improvement_weight, "mask_attempt": usual.mask_attempt}
        )
        return self._train(label, config, student, gold, iteration, num_steps=num_steps)

    def evaluate(self, name: str, student: Ref, problems: Ref) -> StageRequest:
        """Greedy answers to the test questions."""
        return self._request(
            "evaluate",
            f"{name}/evaluate",
            config=self._writes(self.config.evaluate),
            inputs={"student": student, "problems": problems},
            means={"engine": self.config.engine.model_dump(mode="json")},
        )

    # -- what the flow asks between stages ------------------------------------------------------------------------

    def name(self, iteration: int) -> str:
        """Of the iteration's entry in the report: `tripost-2`, `lmsi-2`; ft SI. demo has one and no number."""
        return self.config.entry_name(iteration)

    def rounds(self) -> range:
        """Rounds of IMP and FBK after FBK's first, at most."""
        return range(1, self.config.expert.max_rounds + 1)

    def has_open(self, trajectories: Ref) -> bool:
        """Whether any trajectory still waits for an improvement."""
        return bool(metrics_of(trajectories)["num_open"])

    def too_few(self, triplets: Ref, iteration: int) -> bool:
        """Whether collection gave too few improvements to go on; notes the message that ends the run."""
        kept = metrics_of(triplets)["num_improvements"]
        if kept >= self.config.balance.min_improvements:
            return False
        self.record.message = (
            f"Iteration {iteration} collected {kept} improvements, fewer than balance.min_improvements = "
            f"{self.config.balance.min_improvements}; the run ends here with everything kept."
        )
        return True

    def is_empty(self, rows: Ref, iteration: int) -> bool:
        """Whether an iteration of LMSI has nothing to train on; notes the message that ends the run."""
        if rows.num_rows:
            return False
        self.record.message = f"Iteration {iteration} kept no attempt to train on; the run ends here."
        return True

    # -- the record -----------------------------------------------------------------------------------------------

    def note_problems(self, problems: Ref) -> None:
        """Notes the questions and saves the record. Raises DataError where a run on them can only end early."""
        self.record.problems = problems
        self.save()
        num_train = metrics_of(problems)["by_split"].get("train", 0)
        generate, least = self.config.sampling, self.config.balance.min_improvements
        most = num_train * generate.num_samples * (generate.max_improvements + self.config.expert.max_rounds)
        if self.config.method == "tripost" and most < least:
            raise DataError(
                f"{num_train} training question{'s' * (num_train != 1)} can give {most} improvements at most, fewer "
                f"than balance.min_improvements = {least}: more questions are needed, or a lower minimum."
            )

    def note(self, name: str, iteration: int | None, **stages: Ref) -> None:
        """Notes outputs under an entry (`feedback_0` is written `feedback-0`) and saves the record."""
        entry = next((e for e in self.record.entries if e.name == name), None)
        if entry is None:
            entry = Entry(name=name, iteration=iteration)
            self.record.entries.append(entry)
        entry.stages.update({key.replace("_", "-"): ref for key, ref in stages.items()})
        self.save()

    def finish(self) -> None:
        self.record.finished = True
        self.save()

    def save(self) -> None:
        text = json.dumps(self.record.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
        write_file(str(self.output / "run.json"), text.encode())

    # -- parts ----------------------------------------------------------------------------------------------------

    def _request(
        self,
        stage: str,
        label: str,
        config: dict[str, Any] | None = None,
        params: dict[str, Any] | None = None,
        inputs: dict[str, Ref] | None = None,
        means: dict[str, Any] | None = None,
    ) -> StageRequest:
        return StageRequest(
            stage=stage,
            label=label,
            store=self.store,
            config=config or {},
            params={"task": self.config.task_reference, **(params or {})},
            inputs=inputs or {},
            seed=self.config.seed,
            means=means or {},
        )

    def _calls(self) -> dict[str, Any]:
        """How the expert model is reached, and the run whose budget it is."""
        if self.config.expert.kind == "script":
            return {}
        return {"calls": self.config.calls.model_dump(mode="json"), "run_dir": str(self.output)}

    def _writes(self, config: BaseModel) -> dict[str, Any]:
        """Of a stage in which the student writes."""
        student = {"student": self._student_part()}
        return {**config.model_dump(mode="json"), **student, **self.config.engine.results_part()}

    def _tracking(self) -> dict[str, Any]:
        tracking = self.config.tracking
        return {**tracking.model_dump(mode="json"), "directory": tracking.directory or str(self.output)}

    def _student_part(self) -> dict[str, Any]:
        return self.config.student.model_dump(mode="json", exclude={"model"})

    def _train(
        self, label: str, config: BaseModel, student: Ref, rows: Ref, iteration: int, num_steps: int | None = None
    ) -> StageRequest:
        return self._request(
            "train",
            label,
            config={**config.model_dump(mode="json"), "student": self._student_part()},
            params={"iteration": iteration, "num_steps": num_steps},
            inputs={"student": student, "rows": rows},
            means={
                "ranks": self.config.compute.ranks.model_dump(mode="json"),
                "tracking": self._tracking(),
            },
        )

    def _workings(self) -> dict[str, int]:
        return {"workings": WORKINGS_VERSIONS.get(self.config.task_name, 0)} if self.config.expert.checks else {}

    def _prompts(self) -> dict[str, str]:
        return {} if self.record.prompts is None else {"prompts": self.record.prompts}

    def _expert(self, name: str, stage: str, trajectories: Ref, iteration: int, round_: int) -> StageRequest:
        return self._request(
            stage,
            f"{name}/{stage}-{round_}",
            config=self.config.expert.results_part(),
            params={"iteration": iteration, "round": round_, **self._workings(), **self._prompts()},
            inputs={"trajectories": trajectories},
            means=self._calls(),
        )


def metrics_of(ref: Ref) -> dict[str, Any]:
    """The figures that the stage left with its output."""
    metrics: dict[str, Any] = (read_manifest(ref.uri) or {})["metrics"]
    return metrics
