"""`tripost init`: a task file and a run config to begin a task of one's own with, every line of them explained."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from tripost_core.buffers import write_file
from tripost_core.errors import ConfigError
from tripost_core.problems.files import read_rows

_QUESTIONS = ("question", "input", "problem", "prompt", "query")
_ANSWERS = ("answer", "target", "output", "label", "solution")
_RATIONALES = ("rationale", "solution", "explanation", "reasoning")
_MARKED = re.compile(r"\n####\s*(\S.*)\s*\Z")

_TASK = """\
# Your task. `tripost data check --task {here}/task.yaml` tests it against itself.
name: {name}
train_file: {train}              # JSONL, one object a line; beside this file
test_file:                       # empty: a share of train_file is held out
holdout: 0.2

fields:                          # which field of a line holds what
  question: {question}
  answer: {answer}
  rationale: {rationale}         # a worked solution, one step a line; empty: an expert model writes them
  options:                       # a list of choices, where the question does not hold them
  subtask:                       # a group to report scores by, such as a level
seen:                            # subtasks to train on, e.g. [easy, medium]; empty: all

prompt:
  question: "{{question}}"         # how a question reads; any field of the line may stand in braces
  header: "Answer: Let's think step by step."

answer:
  find: 'answer is:?\\s*(.+)'     # finds the answer in an attempt's final line; its group is the answer
  where: final_line              # or attempt: anywhere in it, the last match counts
  gold: {gold}                   # takes the gold answer out of its field; empty: the whole field
  compare: {compare}             # exact, number, choice (a letter) or set (parts in any order)
  tolerance: 0                   # number: largest difference that is right
  final_line: "So the answer is {{answer}}."
  consistency: step_before       # the step before the final line has to state the answer; or off

rationale:
  remove: {remove}               # regular expressions; what they match is taken out of worked solutions

script:                          # a Python file with hooks (feedback, improve, rationale, ...); see docs/own-task.md

# What the expert model is told. Examples show it the form: a wrong attempt, its first wrong step, and the repair.
expert:
  version: 1                     # raise it when you change what stands below
  task: >-
    A question is a problem in words. An attempt solves it in numbered lines, one step a line, and ends with
    "(Final response) So the answer is N."
  checks: >-
    Go through the lines from the top. See that each says what the question says and that every calculation is right.
  kinds: [calculation, misread_question, wrong_reasoning, missing_step, inconsistent_final]
  examples:
    - question: A box holds 4 rows of 6 eggs. 5 eggs are broken. How many are whole?
      answer: "19"
      attempt: |-
        (1) The box holds 4 * 6 = 26 eggs.
        (2) 26 - 5 = 21 eggs are whole.
        (Final response) So the answer is 21.
      error_step: "1"
      error_segment: 4 * 6 = 26
      error_kind: calculation
      reason: 4 * 6 is 24
      improved: |-
        (1) The box holds 4 * 6 = 24 eggs.
        (2) 24 - 5 = 19 eggs are whole.
        (Final response) So the answer is 19.
    - question: Ana reads 12 pages a day. How many pages does she read in 2 weeks?
      answer: "168"
      attempt: |-
        (1) Two weeks have 2 * 7 = 14 days.
        (2) She reads 12 + 14 = 26 pages.
        (Final response) So the answer is 26.
      error_step: "2"
      error_segment: 12 + 14 = 26
      error_kind: wrong_reasoning
      reason: 12 pages on each of 14 days are 12 * 14 pages
      improved: |-
        (1) Two weeks have 2 * 7 = 14 days.
        (2) She reads 12 * 14 = 168 pages.
        (Final response) So the answer is 168.
    - question: A train leaves at 9 and arrives at 13 o'clock. It stands still for 1 hour. How many hours does it move?
      answer: "3"
      attempt: |-
        (1) The journey takes 13 - 9 = 4 hours.
        (2) It moves for 4 - 1 = 3 hours.
        (Final response) So the answer is 4.
      error_step: final
      error_segment: the answer is 4
      error_kind: inconsistent_final
      reason: step (2) found 3 hours
      improved: |-
        (1) The journey takes 13 - 9 = 4 hours.
        (2) It moves for 4 - 1 = 3 hours.
        (Final response) So the answer is 3.
"""

_RUN = """\
# tripost run {here}/run.yaml
#
# One TriPosT run on your task. Every setting there is: tripost run --help, docs/architecture.md.
task: task.yaml                  # beside this file
seed: 0
iterations: 3                    # t: generate, correct, train, three times over

student:
  model: {model}                 # a Hugging Face causal LM: a directory or a hub name
  dtype: bfloat16                # float32 on a CPU

expert:
  kind: llm
  model: gpt-4o-mini             # as the endpoint calls it
  base_url: https://api.openai.com/v1   # vLLM, llama.cpp, Ollama, ...: where they answer chat completions
  rationales: expert             # the model writes the worked solutions that are missing; given: it writes none
  show_answer: true              # it sees the known answer when it looks for the first error

calls:
  api_key_env: OPENAI_API_KEY    # environment variable that holds the key; never the key itself
  budget_usd: 5.00               # of the whole run, checked before every call; what is paid for is kept
  max_in_flight: 64

generate:
  num_samples: 1                 # attempts per question and iteration
  max_new_tokens: 512
evaluate:
  max_new_tokens: 512
train:
  learning_rate: 1.0e-6          # the paper's, for 7B; a small student needs more (1.0e-5 and above)
  num_epochs: 4
balance:
  improvement_ratio: 1.5         # p = 0.43
  min_improvements: 20           # fewer in an iteration end the run
"""


def write_starter(directory: Path, data: Path | None = None) -> tuple[Path, Path]:
    """Writes `task.yaml` and `run.yaml`; their paths. Raises ConfigError where one is there already, DataError for a
    file of questions that cannot be read, StorageError where they cannot be written."""
    task, run = directory / "task.yaml", directory / "run.yaml"
    for path in (task, run):
        if path.exists():
            raise ConfigError(f"{path} is there already; remove it, or choose another directory.")
    values = _guess(data) if data is not None else _guess_nothing()
    train = "questions.jsonl" if data is None else os.path.relpath(data.absolute(), directory.absolute())
    name = re.sub(r"[^a-z0-9]+", "_", directory.absolute().name.lower()).strip("_") or "task"
    name = name if name[0].isalpha() else f"task_{name}"
    text = _TASK.format(name=name[:48], train=json.dumps(train, ensure_ascii=False), here=directory, **values)
    write_file(str(task), _aligned(text).encode())
    write_file(str(run), _aligned(_RUN.format(here=directory, model="Qwen/Qwen2.5-0.5B")).encode())
    return task, run


def _guess_nothing() -> dict[str, str]:
    return {"question": "question", "answer": "answer", "rationale": "", "gold": "", "compare": "exact", "remove": "[]"}


def _guess(data: Path) -> dict[str, str]:
    """Fields and kind of answer by the first line: names that data sets use, `#### 72` as GSM8K has it."""
    row = read_rows(data)[0][0]
    question = next((name for name in _QUESTIONS if isinstance(row.get(name), str)), None)
    answer = next((name for name in _ANSWERS if isinstance(row.get(name), str | int | float | list)), None)
    if question is None or answer is None:
        missing = "question" if question is None else "answer"
        raise ConfigError(f"{data}: none of its fields ({', '.join(row)}) looks like the {missing}.")
    given = row[answer]
    values = {**_guess_nothing(), "question": question, "answer": answer}
    rationale = next((name for name in _RATIONALES if name != answer and isinstance(row.get(name), str)), "")
    values["rationale"] = rationale
    if isinstance(given, str) and (match := _MARKED.search(given)):
        values |= {"rationale": answer, "gold": r"'####\s*(.+)'", "remove": r"['<<[^>]*>>', '####.*']"}
        given = match[1]
    values["compare"] = _kind(given)
    return values


def _kind(answer: Any) -> str:
    if isinstance(answer, list):
        return "set"
    text = str(answer).strip()
    if re.fullmatch(r"[-+]?[$\u20ac]?[\d,]*\.?\d+%?", text):
        return "number"
    return "choice" if re.fullmatch(r"\(?[A-Z]\)?", text) else "exact"


def _aligned(text: str) -> str:
    """Comments at the ends of lines moved to one column where they fit, and no blanks at the ends of lines."""
    lines = []
    for line in text.split("\n"):
        match = re.fullmatch(r"(\s*[\w\"-]+:(?: \S.*?)?)\s{2,}(# .*)", line)
        lines.append(f"{match[1]:<32} {match[2]}" if match else line.rstrip())
    return "\n".join(lines)
