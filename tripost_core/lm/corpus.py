"""What the built-in student is pretrained on: gold rationales, judgements, revisions and what these are made of.

Six kinds of document, all about questions of seen subtasks that no split can hold (`problems.partition`):

- `gold`: question block, answer header, the scripted rationale.
- `step_feedback`: question block, answer header, the steps up to one step, and a feedback line that judges that step
  alone. Half of the steps carry a planted mistake. This teaches the *form* of criticism: without it no student of this
  size learns to criticise from a few hundred rows.
- `revision`: question block, answer header, a whole attempt, its feedback and, where that names a planted mistake, the
  updated attempt. A large model has seen people revise their work; one that has not cannot even copy the lines that
  stay (docs/log.md, 2026-11-21, "What stands in the way"). Whose mistakes it will have to mend it does not learn here.
- `worked`: question block, the header of an update and the rationale, from some line on with the workings that an
  expert with `checks` shows in an update.
- `columns`: question block, the header of an update and operations of the question's size with their workings.
- `drill`: question block and feedback alone, which works out the question's operations beside results half of which are
  wrong. For its length it says thirty times as often that something is wrong as a revision does.

The loss covers what follows the answer header, without the two things that a student should not imitate: the planted
mistake with what follows from it, and judging an attempt unasked (the `Feedback:` label).
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, assert_never

from tripost_core.experts import load_expert
from tripost_core.experts.checks import of_task
from tripost_core.experts.mistakes import error_classes, plant
from tripost_core.experts.scripted import load_scripted_expert
from tripost_core.problems import Problem, load_task, prompt
from tripost_core.problems.partition import PRETRAINING_SHARE, is_pretraining_question
from tripost_core.trajectory import Attempt, error_feedback, label

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Kind = Literal["gold", "step_feedback", "revision", "drill", "worked", "columns"]
FEEDBACK = "\nFeedback:"
_FIRST_GROUP = re.compile(r"\(([^()]*)\)")
_OPERAND = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Document:
    """`text` without BOS and EOS; `untrained`: character spans [start, end) that bear no loss."""

    task: str
    kind: Kind
    question: str
    text: str
    untrained: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Source:
    """One ingredient of a mixture: documents of one kind from one seen subtask. `weight`: share of the documents,
    relative to the other sources. `operands`: only expressions whose groups have so many (arithmetic). `checks`: of
    revisions, feedback that works its checks out; `error_classes`: which mistakes they mend, empty for all."""

    task: str
    subtask: str
    kind: Kind
    weight: float
    operands: int | None = None
    checks: bool = False
    error_classes: tuple[str, ...] = ()


def mix(sources: Sequence[Source], n: int, seed: str) -> list[Document]:
    """`n` documents drawn from `sources` by weight, in random order; a function of its arguments alone."""
    rng = random.Random(f"mix/{seed}")
    drawn = rng.choices(range(len(sources)), weights=[source.weight for source in sources], k=n)
    documents: list[Document] = []
    for i, source in enumerate(sources):
        if count := drawn.count(i):
            documents += draw(source, count, rng.getrandbits(48))
    rng.shuffle(documents)
    return documents


def draw(source: Source, n: int, seed: int) -> list[Document]:
    """`n` documents of one source."""
    rng = random.Random(seed)
    documents: list[Document] = []
    while len(documents) < n:
        for problem in pretraining_problems(source.task, source.subtask, n - len(documents), rng, source.operands):
            document = make(source, problem, rng)
            if document is not None:
                documents.append(document)
    return documents


def pretraining_problems(
    task_name: str, subtask: str, n: int, rng: random.Random, operands: int | None = None
) -> list[Problem]:
    """`n` different questions of a seen subtask from pretraining's side of the partition.

    Small kinds of question (two words) may run short in one draw; then there are fewer than `n`, at least one.
    """
    task = load_task(task_name)
    assert any(known.name == subtask and known.seen for known in task.subtasks), f"{subtask} is not a seen subtask"
    factor = PRETRAINING_SHARE + 1 if operands is None else 2 * PRETRAINING_SHARE + 2
    found: list[Problem] = []
    while not found:
        for problem in task.generate(subtask, factor * n + 8, rng.getrandbits(32)):
            if is_pretraining_question(problem.question) and operands in (
                None,
                count_operands(problem.question),
            ):
                found.append(problem)
    return found[:n]


def count_operands(question: str) -> int:
    """Operands in the first innermost group of an expression, e.g. 3 for `((1 + -2 * 3) - (4 * 5 * 6)) =`."""
    group = _FIRST_GROUP.search(question)
    return len(_OPERAND.findall(group[1])) if group else 0


def gold(problem: Problem) -> Document:
    """Question block, answer header and gold rationale."""
    task = load_task(problem.task)
    head = prompt(task, problem.question)
    text = f"{head}\n{problem.rationale or task.rationale(problem.question)}"
    return Document(problem.task, "gold", problem.question, text, ((0, len(head)),))


def step_feedback(problem: Problem, rng: random.Random) -> Document | None:
    """An attempt up to one step and the judgement of that step; None where no mistake could be planted.

    A mistake is planted first and half of the time the gold attempt is shown up to the same step instead, so that the
    step's place says nothing about the verdict.
    """
    task = load_task(problem.task)
    classes = list(error_classes(problem.task))
    rng.shuffle(classes)
    for error_class in classes[:4]:
        planted = plant(problem, error_class, rng)
        if planted is None:
            continue
        expert = load_scripted_expert(problem.task)
        verdict = expert.feedback(problem, planted.attempt)
        attempt = Attempt.parse(planted.attempt)
        gold_attempt = Attempt.parse(problem.rationale or task.rationale(problem.question))
        step = verdict.error_step
        if step is None or verdict.reason is None or not verdict.error_segment:
            continue
        place = attempt.index_of(step)
        if place is None or gold_attempt.index_of(step) is None:
            continue  # a step that is missing cannot be shown
        if expert.feedback(problem, Attempt(attempt.steps[: place + 1]).text) != verdict:
            continue  # wrong only because of what comes after it, which is not shown
        head = prompt(task, problem.question)
        right = rng.random() < 0.5
        shown = gold_attempt if right else attempt
        index = shown.index_of(step)
        assert index is not None
        before = "".join(f"\n{line.line}" for line in shown.steps[:index])
        judged = f"\n{shown.steps[index].line}"
        if right:
            sentence = f"Step ({label(step)}) is correct."
        else:
            sentence = error_feedback(Attempt(()), step, verdict.error_segment, verdict.reason)
        mistake_start = len(head) + len(before)
        feedback_start = mistake_start + len(judged)
        untrained = (
            (0, len(head)),
            (feedback_start if right else mistake_start, feedback_start + len(FEEDBACK)),
        )
        text = f"{head}{before}{judged}{FEEDBACK} {sentence}"
        return Document(problem.task, "step_feedback", problem.question, text, untrained)
    return None


def revision(
    problem: Problem, rng: random.Random, checks: bool = False, classes: Sequence[str] = ()
) -> Document | None:
    """A whole attempt, the feedback on it and, where that names a mistake, the repair; None where none was planted.

    Two of three attempts carry a planted mistake; the others are the gold rationale with terminal feedback.
    """
    task, expert = load_task(problem.task), load_expert({"checks": checks}, problem.task, 0)
    head = prompt(task, problem.question)
    if rng.random() < 1 / 3:
        rationale = problem.rationale or task.rationale(problem.question)
        body = f"{head}\n{rationale}"
        text = f"{body}{FEEDBACK} {expert.feedback(problem, rationale).sentence(rationale)}"
        untrained = ((0, len(head)), (len(body), len(body) + len(FEEDBACK)))
        return Document(problem.task, "revision", problem.question, text, untrained)
    classes = classes or error_classes(problem.task)
    for error_class in rng.sample(classes, min(len(classes), 4)):
        planted = plant(problem, error_class, rng)
        if planted is None:
            continue
        verdict = expert.feedback(problem, planted.attempt)
        if verdict.correct or not planted.attempt.strip() or verdict.reason is None:
            continue
        sentence = verdict.sentence(planted.attempt)
        updated = expert.improve(problem, planted.attempt, sentence)
        if not expert.feedback(problem, updated).correct:
            continue
        attempt = Attempt.parse(planted.attempt)
        assert verdict.error_step is not None
        before = "".join(f"\n{step.line}" for step in attempt.before(verdict.error_step))
        body = f"{head}\n{planted.attempt}"
        text = f"{body}{FEEDBACK} {sentence}\nUpdated {task.answer_header}\n{updated}"
        untrained = ((0, len(head)), (len(head) + len(before), len(body) + len(FEEDBACK)))
        return Document(problem.task, "revision", problem.question, text, untrained)
    return None


def drill_document(problem: Problem, rng: random.Random) -> Document:
    """The operations of a question, worked out and compared with results of which half are wrong."""
    text = prompt(load_task(problem.task), problem.question) + FEEDBACK
    untrained = [(0, len(text))]
    for piece, trained in of_task(problem.task).drill(problem, rng):
        if not trained:
            untrained.append((len(text), len(text) + len(piece)))
        text += piece
    return Document(problem.task, "drill", problem.question, text, tuple(untrained))


def worked(problem: Problem, rng: random.Random) -> Document:
    """The rationale as the end of an update: some line and those behind it have their workings."""
    task, text = load_task(problem.task), _updated_head(problem)
    lines = (problem.rationale or task.rationale(problem.question)).split("\n")
    kept = rng.randrange(len(lines) - 1)
    whole = "\n".join([text, *of_task(problem.task).with_workings(lines, kept)])
    return Document(problem.task, "worked", problem.question, whole, ((0, len(text)),))


def columns(problem: Problem, rng: random.Random) -> Document:
    """Operations of the question's size, worked out as in an update, one line each."""
    text = _updated_head(problem)
    lines = [f"({i}) {line}." for i, line in enumerate(of_task(problem.task).operations(problem, rng), 2)]
    return Document(problem.task, "columns", problem.question, "\n".join([text, *lines]), ((0, len(text)),))


def _updated_head(problem: Problem) -> str:
    """The question block as far as the header of an update."""
    task = load_task(problem.task)
    return f"{prompt(task, problem.question).removesuffix(task.answer_header)}Updated {task.answer_header}"


def make(source: Source, problem: Problem, rng: random.Random) -> Document | None:
    """A document of the source's kind about one problem; None where the problem has no place for a mistake."""
    match source.kind:
        case "gold":
            return gold(problem)
        case "step_feedback":
            return step_feedback(problem, rng)
        case "revision":
            return revision(problem, rng, source.checks, source.error_classes)
        case "worked":
            return worked(problem, rng)
        case "columns":
            return columns(problem, rng)
        case "drill":
            return drill_document(problem, rng)
        case unknown:
            assert_never(unknown)


def encode(document: Document, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """(input ids, labels), BOS and EOS included; labels are the ids, -100 where there is no loss. Equal lengths."""
    encoding = tokenizer(document.text, return_offsets_mapping=True, add_special_tokens=False)
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    ids: list[int] = [bos, *encoding["input_ids"], eos]
    labels = [-100]
    spans = list(document.untrained)
    for token, (start, _) in zip(encoding["input_ids"], encoding["offset_mapping"], strict=True):
        while spans and start >= spans[0][1]:
            spans.pop(0)
        labels.append(-100 if spans and start >= spans[0][0] else token)
    labels.append(eos)
    return ids, labels
