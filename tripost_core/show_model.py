"""What `tripost evaluate` and `tripost solve` print of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tripost_core.problems.names import TASKS
from tripost_core.report.numbers import METRICS, SPLITS, complete_eval
from tripost_core.report.text import percent, reveal
from tripost_core.show import plain

if TYPE_CHECKING:
    from tripost_core.lm.student import Student
    from tripost_core.problems.base import Problem, Task

_SKILLS = {
    "verdict": "knows whether its attempt is wrong",
    "always_wrong": "always saying so would get",
    "found": "of its wrong attempts: called wrong",
    "step": "... and the right step named",
    "false_alarms": "of its right attempts: called wrong",
    "found_in_gold": "where it is wrong, the gold rationale: called wrong",
    "repaired": "of its wrong attempts: mended when told the script's feedback",
    "kept": "... with the lines before the error kept",
    "at_once": "an update without any attempt: right",
}


def print_metrics(figures: dict[str, Any], console: Console | None = None) -> None:
    """`eval` of one model (`metrics.evaluate_rows`): seen, unseen, total and every subtask in a row each."""
    console = console or Console(highlight=False)
    complete = complete_eval(figures)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for heading in ("n", "accuracy", "first", "direct", "SI.Freq", "SI.Contrib", "repaired", "harm"):
        table.add_column(heading, justify="right", no_wrap=True)
    groups = {split: {name: complete[name][split] for name in ("n", *METRICS)} for split in SPLITS}
    for name, values in {**complete["by_subtask"], **groups}.items():
        if values["n"]:
            style = "bold" if name == "total" else ""
            cells = [percent(values[metric]) for metric in METRICS]
            table.add_row(plain(name), f"{values['n']:,}", *cells, style=style)
    console.print(table if table.row_count else plain("There was nothing to evaluate."))


def print_solution(
    student: Student,
    task: Task,
    problem: Problem,
    temperature: float = 0.0,
    max_improvements: int = 3,
    seed: int = 0,
    console: Console | None = None,
) -> None:
    """Prints what the student writes while it writes it, then whether its answer is right and what the scripted expert
    says of each attempt. `temperature` 0 is greedy."""
    from tripost_core.config import EvaluateConfig
    from tripost_core.experts.scripted import load_scripted_expert
    from tripost_core.lm.self_improve import self_improve

    console = console or Console(highlight=False)
    limits = EvaluateConfig()
    console.print(Text.assemble(("Q: ", "cyan"), reveal(problem.question)), soft_wrap=True)
    stream = _Stream(console)
    (result,) = self_improve(
        student,
        task,
        [problem.question],
        [seed],
        temperature=temperature,
        max_new_tokens=limits.max_new_tokens,
        max_improvements=max_improvements,
        batch_tokens=limits.batch_tokens,
        on_text=lambda _, text: stream.show(text),
    )
    stream.end(result.text)
    if result.truncated:
        console.print(Text("The student ran into the length limit.", "yellow"))
    final = task.extract_answer(result.turns[-1].attempt)
    right = task.is_right(result.turns[-1].attempt, problem.answer)
    answer = "No answer" if final is None else f"Answer {reveal(final)}"
    count = f"after {len(result.turns)} attempt{'' if len(result.turns) == 1 else 's'}"
    if not problem.answer:  # nobody has told it
        console.print(Text(f"\n{answer} {count}.", "bold"), soft_wrap=True)
        return
    verdict = "right" if right else f"wrong, {reveal(problem.answer)} is right"
    console.print(Text(f"\n{answer} {count}: {verdict}.", "bold green" if right else "bold red"), soft_wrap=True)
    if problem.task not in TASKS:
        return
    expert = load_scripted_expert(problem.task)
    for number, turn in enumerate(result.turns, 1):
        said = expert.feedback(problem, turn.attempt).sentence(turn.attempt)
        console.print(plain(f"The script says of attempt {number}: {said}", "dim"), soft_wrap=True)


class _Stream:
    """Prints a growing text, each character once."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.num_shown = 0

    def show(self, text: str) -> None:
        # A character of several tokens ends in U+FFFD until its last token is there.
        ready = text.rstrip("\ufffd")
        if len(ready) > self.num_shown:
            self.console.print(plain(ready[self.num_shown :]), end="", soft_wrap=True)
            self.num_shown = len(ready)

    def end(self, text: str) -> None:
        self.console.print(plain(text[self.num_shown :]), soft_wrap=True)


def print_skills(figures: dict[str, float | int | None]) -> None:
    """What `lm.skills.skills` has measured."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    for name, text in _SKILLS.items():
        table.add_row(text, percent(figures[name]))
    console = Console(highlight=False)
    console.print(f"\nForced, on {figures['n']} first attempts, {figures['num_wrong']} of them wrong by the script:")
    console.print(table)
