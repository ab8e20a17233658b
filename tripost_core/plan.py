"""A run as stage requests: which part of the configuration and which buffers each stage of Algorithm 1 reads.

Knows nothing of how stages are run. The flow asks for a request, has it executed, and hands the reference on; `RunPlan`
notes every output, and its record is what the report, `tripost show` and a later start of the same run read.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tripost_core.buffers import Ref, canonical_json, is_intact, join, read_manifest, write_file
from tripost_core.config import RunConfig
from tripost_core.errors import DataError, StorageError
from tripost_core.problems.splits import file_digests
from tripost_core.stages import StageRequest

RATIONALE = "ft-rationale"
CONTINUED = "ft-rationale-continued"


class Entry(BaseModel):
    """One row of the report: a trained student, its evaluation and the stages that led to it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    iteration: int | None
    stages: dict[str, Ref] = {}
    """By stage within the entry: `train`, `evaluate`, `generate`, `feedback-0`, `improve-1`, `filter`, `balance`."""


class RunRecord(BaseModel):
    """`run.json`: what a run consists of, by reference."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = 1
    run_id: str
    config: dict[str, Any]
    config_fingerprint: str
    problems: Ref | None = None
    entries: list[Entry] = []
    message: str = ""
    """Why the run ended before its t iterations; empty if it did not."""
    finished: bool = False

    @property
    def task_name(self) -> str:
        task = self.config["task"]
        return str(task["name"] if isinstance(task, dict) else task)

    @property
    def run_config(self) -> RunConfig:
        return RunConfig.model_validate(self.config)

    def references(self) -> list[Ref]:
        found = [] if self.problems is None else [self.problems]
        return found + [ref for entry in self.entries for ref in entry.stages.values()]


def fingerprint(config: RunConfig) -> str:
    """16 hex digits over everything in the configuration that can change a number."""
    return hashlib.sha256(canonical_json(config.results_part()).encode()).hexdigest()[:16]


def read_record(output: Path) -> RunRecord | None:
    """The record in a run's directory, or None. Raises StorageError where it is not one."""
    path = output / "run.json"
    if not path.exists():
        return None
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except ValueError:
        raise StorageError(f"{path} is not the record of a run.") from None
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.") from None


def is_finished(record: RunRecord | None, config: RunConfig) -> bool:
    """Whether this run of exactly this configuration and these question files is done and every file of it intact."""
    return (
        record is not None
        and record.finished
        and record.config_fingerprint == fingerprint(config)
        and _has_read(record, file_digests(config.data))
        and all(is_intact(ref) for ref in record.references())
    )


def _has_read(record: RunRecord, files: dict[str, str]) -> bool:
    """Whether the run's questions come from question files of this content."""
    if not files:
        return True
    manifest = read_manifest(record.problems.uri) if record.problems is not None else None
    return manifest is not None and manifest["request"]["params"].get("files") == files


class RunPlan:
    """Builds the requests of one run in `output` (a directory) and notes what came of them."""

    def __init__(self, config: RunConfig, output: str | Path) -> None:
        self.config = config
        self.output = Path(output).absolute()
        local = self.output.as_uri() if "%" not in self.output.as_uri() else str(self.output)
        shared = config.compute.store
        self.store = join(shared, self.output.name, "stages") if shared else join(local, "stages")
        self.record = RunRecord(
            run_id=self.output.name,
            config=config.model_dump(mode="json"),
            config_fingerprint=fingerprint(config),
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
            inputs={"problems": problems},
            means=self._calls(),
        )

    def gold_rows(self, problems: Ref) -> StageRequest:
        """Training rows of iteration 0: the gold rationales."""
        return self._request("balance", f"{RATIONALE}/balance", params={"iteration": 0}, inputs={"problems": problems})

    def train_rationale(self, rows: Ref) -> StageRequest:
        """ft rationale, from the student of the configuration."""
        return self._train(f"{RATIONALE}/train", self.config.rationale, base_student(self.config), rows, 0)

    def generate(self, student: Ref, problems: Ref, iteration: int) -> list[StageRequest]:
        """The student's trajectories for every training prompt: one request, or one for each shard of the prompts."""
        number = self.config.compute.generate_shards
        return [
            self._request(
                "generate",
                f"tripost-{iteration}/generate" + (f"-shard-{shard}" if number > 1 else ""),
                config=self._writes(self.config.generate),
                params={"iteration": iteration, **({"shard": [shard, number]} if number > 1 else {})},
                inputs={"student": student, "problems": problems},
                means={"engine": self.config.engine.model_dump(mode="json")},
            )
            for shard in range(number)
        ]

    def gather(self, shards: list[Ref], iteration: int) -> StageRequest:
        """The trajectories of all shards as one buffer, the same as without shards."""
        inputs = {f"shard-{number}": shard for number, shard in enumerate(shards)}
        return self._request("gather", f"tripost-{iteration}/generate", params={"iteration": iteration}, inputs=inputs)

    def feedback(self, trajectories: Ref, iteration: int, round_: int) -> StageRequest:
        """FBK on every trajectory that is not yet judged to its end; round 0 edits the student's own."""
        return self._expert("feedback", trajectories, iteration, round_)

    def improve(self, trajectories: Ref, iteration: int, round_: int) -> StageRequest:
        """IMP on every open trajectory; rounds count from 1."""
        return self._expert("improve", trajectories, iteration, round_)

    def filter(self, trajectories: Ref, student: Ref, iteration: int) -> StageRequest:
        """Triplets, each kept or dropped for a reason. The student's tokenizer measures lengths."""
        return self._request(
            "filter",
            f"tripost-{iteration}/filter",
            config=self.config.filter.model_dump(mode="json"),
            params={"iteration": iteration},
            inputs={"trajectories": trajectories, "student": student},
        )

    def balance(self, triplets: list[Ref], problems: Ref, iteration: int) -> StageRequest:
        """Training rows of this iteration from the triplets of all iterations so far."""
        return self._request(
            "balance",
            f"tripost-{iteration}/balance",
            config=self.config.balance.model_dump(mode="json"),
            params={"iteration": iteration},
            inputs={"problems": problems, **{f"triplets-{i}": ref for i, ref in enumerate(triplets, 1)}},
        )

    def train(self, student: Ref, rows: Ref, iteration: int) -> StageRequest:
        """Weighted supervised learning from the previous iteration's student."""
        return self._train(f"tripost-{iteration}/train", self.config.train, student, rows, iteration)

    def train_continued(self, student: Ref, gold: Ref, like: Ref, iteration: int) -> StageRequest:
        """Gold rationales only, for as many optimiser steps as TriPosT took in the same iteration (`like`)."""
        num_steps = (read_manifest(like.uri) or {})["metrics"]["num_steps"]
        label = f"{CONTINUED}/train-{iteration}"
        return self._train(label, self.config.train, student, gold, iteration, num_steps=num_steps)

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
        """Of the iteration's entry in the report."""
        return f"tripost-{iteration}"

    def rounds(self) -> range:
        """Rounds of IMP and FBK after FBK's first, at most."""
        return range(1, self.config.expert.max_rounds + 1)

    def has_open(self, trajectories: Ref) -> bool:
        """Whether any trajectory still waits for an improvement."""
        return bool((read_manifest(trajectories.uri) or {})["metrics"]["num_open"])

    def too_few(self, triplets: Ref, iteration: int) -> bool:
        """Whether collection gave too few improvements to go on; notes the message that ends the run."""
        kept = (read_manifest(triplets.uri) or {})["metrics"]["num_improvements"]
        if kept >= self.config.balance.min_improvements:
            return False
        self.record.message = (
            f"Iteration {iteration} collected {kept} improvements, fewer than balance.min_improvements = "
            f"{self.config.balance.min_improvements}; the run ends here with everything kept."
        )
        return True

    # -- the record -----------------------------------------------------------------------------------------------

    def note_problems(self, problems: Ref) -> None:
        """Notes the questions and saves the record. Raises DataError where a run on them can only end early."""
        self.record.problems = problems
        self.save()
        num_train = (read_manifest(problems.uri) or {})["metrics"]["by_split"].get("train", 0)
        generate, least = self.config.generate, self.config.balance.min_improvements
        most = num_train * generate.num_samples * (generate.max_improvements + self.config.expert.max_rounds)
        if most < least:
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

    def _expert(self, stage: str, trajectories: Ref, iteration: int, round_: int) -> StageRequest:
        return self._request(
            stage,
            f"tripost-{iteration}/{stage}-{round_}",
            config=self.config.expert.results_part(),
            params={"iteration": iteration, "round": round_},
            inputs={"trajectories": trajectories},
            means=self._calls(),
        )


def base_student(config: RunConfig) -> Ref:
    """The student that the configuration names, by the digest of its files. Raises ModelError."""
    from tripost_core.lm.student import checkpoint_digest, resolve_student

    directory = resolve_student(config.student.model)
    return Ref(uri=str(directory), digest=checkpoint_digest(directory), kind="checkpoint")
