"""The questions of a run: train, test and, with the paper's sizes, validation (paper section 3.1).

No question is in two splits or twice in one, and no generated question is one that the shipped student may have been
pretrained on. What "the same question" means is `partition.canonical_question`: blanks do not count, nor does the
order of the words of a list.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tripost_core.config import DataConfig
from tripost_core.errors import DataError
from tripost_core.problems.base import Problem, Task, subtask_names
from tripost_core.problems.partition import canonical_question, is_pretraining_question

TRAIN, VALIDATION, TEST = "train", "validation", "test"


class Splits(NamedTuple):
    """`problems` of all splits; `dropped`: how many questions of files were left out, by reason."""

    problems: list[Problem]
    dropped: dict[str, int]


def make_splits(task: Task, config: DataConfig, seed: int) -> Splits:
    """The questions of every split; those to train on come with a rationale.

    Files are taken as they are, without their repetitions; a question of both files stays in the test split. Generated
    questions are new to the files, to each other and to pretraining. The same arguments give the same questions.
    Raises DataError where a file is at fault, or where nothing is left to train or to evaluate on.
    """
    dropped: Counter[str] = Counter()
    train = _load(task, config.train_file, TRAIN, dropped)
    test = _load(task, config.test_file, TEST, dropped)
    if train is not None and test is None and task.holdout > 0:
        train, test = _held_out(train, task.holdout)
    if train is not None and test is not None:
        train = _without(train, test, dropped)
    taken = list(train or []) + list(test or [])
    sizes = _sizes(task, config)
    if test is None:
        test = _generate(task, sizes[TEST], seed, TEST, taken)
        taken += test
    validation = _generate(task, sizes[VALIDATION], seed, VALIDATION, taken)
    taken += validation
    if train is None:
        train = _generate(task, sizes[TRAIN], seed, TRAIN, taken)
    if not train:
        raise DataError(f"Every question of {config.train_file} is in {config.test_file} too, so none is left.")
    train = [found for problem in train if (found := _with_rationale(task, problem, dropped)) is not None]
    if not train:
        raise DataError(
            f"No question of {config.train_file} can be trained on: its answers are not the calculated ones."
        )
    return Splits([*train, *validation, *test], dict(dropped))


def file_digests(config: DataConfig) -> dict[str, str]:
    """SHA-256 of the question files by setting, so that a changed file is a changed input. Raises DataError."""
    digests = {}
    for setting in ("train_file", "test_file"):
        if (path := getattr(config, setting)) is not None:
            try:
                digests[setting] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            except FileNotFoundError:
                raise DataError(f"There is no question file {path} (data.{setting}).") from None
            except OSError as error:
                raise DataError(f"The question file {path} cannot be read: {error.strerror}.") from None
    return digests


def _sizes(task: Task, config: DataConfig) -> dict[str, Mapping[str, int]]:
    """Questions by split and subtask."""
    if config.preset == "paper":
        return {split: task.paper_sizes.get(split, {}) for split in (TRAIN, VALIDATION, TEST)}
    seen, unseen = subtask_names(task, seen=True), subtask_names(task, seen=False)
    if unknown := [name for name in config.seen_subtasks if name not in seen]:
        raise DataError(f"data.seen_subtasks names {unknown[0]!r}; the seen subtasks are {', '.join(seen)}.")
    seen = list(config.seen_subtasks) or list(seen)
    test = {**_spread(config.num_test_seen, seen), **_spread(config.num_test_unseen, unseen)}
    return {TRAIN: _spread(config.num_train, seen), VALIDATION: {}, TEST: test}


def _spread(n: int, subtasks: Iterable[str]) -> dict[str, int]:
    """`n` over the subtasks, of which a task of one's own may have none; the rest goes to the first ones."""
    names = list(subtasks)
    return {name: n // len(names) + (i < n % len(names)) for i, name in enumerate(names)}


def _load(task: Task, file: str | None, split: str, dropped: Counter[str]) -> list[Problem] | None:
    if file is None:
        return None
    found: dict[str, Problem] = {}
    for problem in task.load(Path(file), split):
        if found.setdefault(canonical_question(problem.question), problem) is not problem:
            dropped[f"{split}_duplicate"] += 1
    if not found:
        raise DataError(f"The question file {file} holds no question.")
    return list(found.values())


def _without(train: list[Problem], test: list[Problem], dropped: Counter[str]) -> list[Problem]:
    in_test = {canonical_question(problem.question) for problem in test}
    kept = [problem for problem in train if canonical_question(problem.question) not in in_test]
    if len(kept) < len(train):
        dropped["train_in_test"] += len(train) - len(kept)
    return kept


def _generate(task: Task, sizes: Mapping[str, int], seed: int, split: str, taken: Iterable[Problem]) -> list[Problem]:
    exclude = [problem.question for problem in taken]
    keys = {canonical_question(question) for question in exclude}
    problems: list[Problem] = []
    for subtask, n in sizes.items():
        candidates = n
        kept: dict[str, Problem] = {}
        while len(kept) < n:
            candidates += candidates // 2 + 8  # a share of them belongs to pretraining
            for problem in task.generate(subtask, candidates, seed, split, exclude):
                key = canonical_question(problem.question)
                if key not in keys and not is_pretraining_question(problem.question):
                    kept.setdefault(key, problem)
        new = dict(list(kept.items())[:n])
        keys.update(new)
        exclude += [problem.question for problem in new.values()]
        problems += new.values()
    return problems


def _held_out(train: list[Problem], share: float) -> tuple[list[Problem], list[Problem]]:
    """(the rest, the questions held out for the test), by their content: a longer file moves none of them.

    Raises DataError where one of the two is empty.
    """
    kept: dict[bool, list[Problem]] = {True: [], False: []}
    for problem in train:
        number = int(hashlib.sha256(f"holdout/{canonical_question(problem.question)}".encode()).hexdigest()[:8], 16)
        kept[number < share * 2**32].append(problem)
    if not kept[True] or not kept[False]:
        raise DataError(f"{len(train)} questions with holdout = {share} leave none to train on or none to test on.")
    return kept[False], [replace(problem, split=TEST) for problem in kept[True]]


def _with_rationale(task: Task, problem: Problem, dropped: Counter[str]) -> Problem | None:
    """The file's rationale if it reaches the answer, else the script's; none where no script reads the question. None
    for a question whose answer contradicts the script: nothing right could be learned from it."""
    if problem.rationale is not None and problem.rationale.strip():
        rationale = problem.rationale.strip("\n")
        if task.is_right(rationale, problem.answer):
            return replace(problem, rationale=rationale)
        dropped["rationale_not_right"] += 1
    try:
        rationale = task.rationale(problem.question)
    except DataError:
        dropped["no_rationale"] += 1
        return replace(problem, rationale=None)
    if not task.is_right(rationale, problem.answer):
        dropped["answer_contradicts_script"] += 1
        return None
    return replace(problem, rationale=rationale)
