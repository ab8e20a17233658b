"""Question files of every task: BIG-bench JSON, BIG-Bench Hard JSON and plain JSONL, read into one shape.

    BIG-bench        {"examples": [{"input": str, "target": str | number | list} | {..., "target_scores": {...}}]}
    BIG-Bench Hard   {"canary": str, "examples": [{"input": str, "target": str}]}
    JSONL            one {"question": str, "answer": str | number | list, "rationale": str (optional)} a line

A question of multiple choice may have its options beside it: `options` (text, list or mapping), or the texts of
`target_scores`.

What the question and the answer mean is the task's business (`Task.load`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from tripost_core.errors import DataError


class Example(TypedDict):
    """One row of a question file. `place` names it in messages, e.g. `words.jsonl, line 3`."""

    question: str
    answer: str | list[str]
    rationale: str | None
    place: str
    options: NotRequired[Any]
    """Options beside the question: text, a list or a mapping; see `problems.options`."""


def read_examples(path: Path | str) -> list[Example]:
    """The rows of a question file, in the file's order.

    A number as answer becomes its string; a list of one element that element; `target_scores` the option with the
    highest score (the first of several). Raises DataError, with the line (JSONL) or the example's number (JSON, from
    1), when the file is missing, empty or malformed.
    """
    rows, is_document = _rows(Path(path))
    if is_document:
        return [_example(row, "input", _target(row), place) for row, place in rows]
    return [
        _example(row, "question", row.get("answer") if isinstance(row, dict) else None, place) for row, place in rows
    ]


def read_rows(path: Path | str) -> list[tuple[dict[str, Any], str]]:
    """(row, its place for messages) of a question file whose fields have names of their own. Raises DataError."""
    rows = _rows(Path(path))[0]
    for row, place in rows:
        if not isinstance(row, dict):
            raise DataError(f"{place}: not a JSON object.")
    return rows


def _rows(path: Path) -> tuple[list[tuple[Any, str]], bool]:
    """The rows with their places, and whether the file is one JSON document."""
    text = _read(path)
    document = _whole_document(path, text)
    if document is not None:
        rows = [(row, f"{path}, example {number}") for number, row in enumerate(document, start=1)]
    else:
        rows = []
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                place = f"{path}, line {number}"
                rows.append((_loads(line, place), place))
    if not rows:
        raise DataError(f"{path} holds no questions.")
    return rows, document is not None


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8 text.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    if not text.strip():
        raise DataError(f"{path} is empty.")
    return text


def _whole_document(path: Path, text: str) -> list[Any] | None:
    """The `examples` of a file that is one JSON document; None for JSONL."""
    first_line = text.strip().split("\n", 1)[0]
    if path.suffix != ".json" and _is_json_object(first_line) and '"examples"' not in first_line:
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        if path.suffix == ".json":
            raise _malformed(str(path), error) from None
        return None
    if isinstance(document, dict) and isinstance(document.get("examples"), list):
        return document["examples"]
    if path.suffix == ".json":
        raise DataError(f"{path} is JSON without a list `examples`.")
    return None


def _is_json_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _loads(line: str, place: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _malformed(place, error) from None


def _malformed(place: str, error: Exception) -> DataError:
    if isinstance(error, json.JSONDecodeError):
        where = f", line {error.lineno}" if ", line" not in place else ""
        return DataError(f"{place}{where}: not JSON ({error.msg} at column {error.colno}).")
    return DataError(f"{place}: not JSON that can be read ({type(error).__name__}).")


def _target(row: Any) -> Any:
    if not isinstance(row, dict):
        return None
    scores = row.get("target_scores")
    if "target" not in row and isinstance(scores, dict) and scores:
        numeric = {option: s for option, s in scores.items() if isinstance(s, int | float)}
        return max(numeric, key=numeric.__getitem__) if numeric else None
    return row.get("target")


def _example(row: Any, question_key: str, answer: Any, place: str) -> Example:
    if not isinstance(row, dict):
        raise DataError(f"{place}: not a JSON object.")
    question = row.get(question_key)
    if not isinstance(question, str) or not question.strip():
        raise DataError(f"{place}: `{question_key}` is missing or not text.")
    rationale = row.get("rationale")
    if rationale is not None and not isinstance(rationale, str):
        raise DataError(f"{place}: `rationale` is not text.")
    options = row.get("options")
    if options is None and isinstance(row.get("target_scores"), dict):
        options = list(row["target_scores"])
    example = Example(question=question, answer=_answer(answer, place), rationale=rationale, place=place)
    if options:
        example["options"] = options
    return example


def _answer(answer: Any, place: str) -> str | list[str]:
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if isinstance(answer, str) and answer.strip():
        return answer
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        return str(answer)
    if isinstance(answer, list) and answer and all(isinstance(word, str | int) for word in answer):
        return [str(word) for word in answer]
    raise DataError(f"{place}: the answer is missing or neither text, a number nor a list of words.")
