"""`tripost data`: write the splits of a task as JSONL, and check data files against themselves."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tripost_core.buffers import write_file
from tripost_core.config import RunConfig
from tripost_core.errors import ConfigError, DataError, ModelError
from tripost_core.problems import TASKS, Problem, Task, load_task, own_specification, prompt
from tripost_core.problems.own import YourTask
from tripost_core.problems.partition import canonical_question

MAX_LINES_SHOWN = 20


def write_splits(config: RunConfig, out: Path) -> list[tuple[Path, int]]:
    """Writes `train.jsonl`, `test.jsonl` (and `validation.jsonl` with the paper's sizes); path and rows of each.

    A line has `question`, `answer`, `rationale`, `subtask`, `seen`. Raises StorageError.
    """
    from tripost_core.problems.splits import make_splits

    task = load_task(config.task_reference)
    problems = make_splits(task, config.data, config.seed).problems
    written = []
    for split in dict.fromkeys(problem.split for problem in problems):
        rows = [problem for problem in problems if problem.split == split]
        path = out / f"{split}.jsonl"
        write_file(str(path), "".join(_line(task, problem) for problem in rows).encode())
        written.append((path, len(rows)))
    return written


def _line(task: Task, problem: Problem) -> str:
    row = {
        "question": problem.question,
        "answer": problem.answer,
        "rationale": _gold(task, problem),
        "subtask": problem.subtask,
        "seen": problem.seen,
    }
    return json.dumps(row, ensure_ascii=False) + "\n"


@dataclass
class Check:
    """What `tripost data check` found."""

    num_questions: Counter[str] = field(default_factory=Counter)
    """By file."""
    by_subtask: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    longest_tokens: int = 0
    """Of prompt and rationale."""
    context_tokens: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {
            "num_questions": dict(self.num_questions),
            "by_subtask": dict(self.by_subtask),
            "longest_tokens": self.longest_tokens,
            "context_tokens": self.context_tokens,
            "findings": self.findings,
        }

    def lines(self) -> list[str]:
        """For the terminal."""
        lines = [f"{name}: {num} questions" for name, num in self.num_questions.items()]
        lines.append("by subtask: " + ", ".join(f"{name} {num}" for name, num in sorted(self.by_subtask.items())))
        lines.append(f"longest prompt with rationale: {self.longest_tokens} of {self.context_tokens} tokens")
        lines += self.findings[:MAX_LINES_SHOWN]
        if len(self.findings) > MAX_LINES_SHOWN:
            lines.append(f"... and {len(self.findings) - MAX_LINES_SHOWN} more")
        lines.append(f"{len(self.findings)} findings" if self.findings else "Nothing wrong was found.")
        return lines


def check_files(task_name: str, files: list[Path], model: str) -> Check:
    """Reads the files as splits of one data set; without files, those that a task file names. Raises DataError where
    one cannot be read at all, ConfigError where there are none."""
    task = load_task(task_name)
    files = files or _own_files(task_name)
    tokenizer, context = _tokenizer(model)
    check = Check(context_tokens=context)
    first_place: dict[str, str] = {}
    for file in files:
        for number, problem in enumerate(task.load(file, file.stem), 1):
            place = f"{file.name}, question {number}"
            check.num_questions[str(file)] += 1
            check.by_subtask[problem.subtask] += 1
            key = canonical_question(problem.question)
            if key in first_place:
                check.findings.append(f"{place}: the same question as {first_place[key]}")
            first_place.setdefault(key, place)
            check.findings += [f"{place}: {finding}" for finding in _findings(task, problem)]
            length = len(tokenizer(f"{prompt(task, problem.question)}\n{_gold(task, problem)}")["input_ids"]) + 1
            check.longest_tokens = max(check.longest_tokens, length)
            if length > context:
                check.findings.append(f"{place}: {length} tokens with its rationale, more than {model}'s {context}")
    return check


def _tokenizer(model: str) -> tuple[Any, int]:
    """A model's tokenizer and context length in tokens, without its weights. Raises ModelError."""
    from transformers import AutoConfig, AutoTokenizer

    from tripost_core.lm.student import resolve_student

    directory = resolve_student(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        context = AutoConfig.from_pretrained(directory, local_files_only=True).max_position_embeddings
    except (OSError, ValueError, AttributeError) as error:
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{directory} has no tokenizer and configuration that can be read: {cause}") from None
    return tokenizer, context


def _own_files(task_name: str) -> list[Path]:
    if task_name in TASKS:
        raise ConfigError("`tripost data check` needs the files to check.")
    spec = own_specification(task_name)
    files = [Path(file) for file in (spec.train_file, spec.test_file) if file is not None]
    if not files:
        raise ConfigError(f"{task_name} names no train_file and no test_file, and no file was given.")
    return files


def _gold(task: Task, problem: Problem) -> str:
    """The gold rationale; nothing where there is none and no script writes one."""
    if problem.rationale:
        return problem.rationale
    try:
        return task.rationale(problem.question)
    except DataError:
        return ""


def _findings(task: Task, problem: Problem) -> list[str]:
    """What is wrong with one question's own answer and rationale."""
    found = []
    try:
        computed = task.parse_question(problem.question).answer
    except DataError as error:
        return [str(error)]
    if isinstance(task, YourTask):
        final = task.final_line(problem.answer)
        if not task.is_right(final, problem.answer):
            got = task.extract_answer(final)
            found.append(f"the gold answer {problem.answer!r} does not pass its own grader, which reads {got!r}")
    elif computed != problem.answer:
        found.append(f"the answer is {problem.answer!r}, but the question's is {computed!r}")
    if problem.rationale is not None:
        if not task.is_right(problem.rationale, problem.answer):
            found.append(f"the rationale ends with {task.extract_answer(problem.rationale)!r}, not {problem.answer!r}")
        if not task.is_consistent(problem.rationale, problem.question):
            found.append("the rationale's final answer is not that of its second last step")
    return found
