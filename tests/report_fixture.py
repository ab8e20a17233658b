"""A run as the stages would leave it, made up from a seed: true to every schema and manifest, no model involved."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tripost_core.buffers import Ref, Row, join, write_buffer, write_manifest
from tripost_core.config import CONTINUED, RATIONALE, RunConfig
from tripost_core.metrics import evaluate_rows
from tripost_core.plan import RunPlan
from tripost_core.record import RunRecord
from tripost_core.trajectory import Attempt, error_feedback, terminal_feedback

SUBTASKS = {"l3-4d2": True, "l3-4d22": True, "l5-6d2": False, "l5-6d22": False}
ERROR_CLASSES = ("calculation", "copy", "sign", "missing_term")


def _group(rng: random.Random) -> tuple[str, list[str], int]:
    """An innermost group, the right-hand sides of its calculation, and its value."""
    a, b, c = (rng.randint(-9, 9) for _ in range(3))
    return f"({a} * {b} - {c})", [f"(({a} * {b}) - {c})", f"({a * b} - {c})"], a * b - c


def _problem(rng: random.Random, subtask: str, split: str) -> Row:
    groups = [_group(rng), _group(rng)]
    (g1, chain1, v1), (g2, chain2, v2) = groups
    question = f"({g1} + {g2}) ="
    lines = [
        f'(1) This equation can be written as "(A + B)", where A = {g1} and B = {g2}.',
        f"(2) Let's calculate A = {g1} = {' = '.join(chain1)} = {v1}.",
        f"(3) Let's calculate B = {g2} = {' = '.join(chain2)} = {v2}.",
        f"(4) Then, the final equation is (A + B) = ({v1} + {v2}) = {v1 + v2}.",
        f"(Final response) So the answer is {v1 + v2}.",
    ]
    return {
        "problem_id": f"{split}-{rng.getrandbits(48):012x}",
        "task": "multistep_arithmetic",
        "subtask": subtask,
        "seen": SUBTASKS[subtask],
        "question": question,
        "answer": str(v1 + v2),
        "split": split,
        "rationale": "\n".join(lines),
    }


def _spoil(problem: Row, rng: random.Random) -> tuple[str, str, str]:
    """The rationale with a wrong result in step 2, 3 or 4 and its consequences; the step and the segment."""
    lines = problem["rationale"].split("\n")
    step = rng.choice([2, 3, 4])
    head, _, value = lines[step - 1].rstrip(".").rpartition(" = ")
    wrong = int(value) + rng.choice([-10, -2, -1, 1, 2, 10])
    shift = wrong - int(value)
    lines[step - 1] = f"{head} = {wrong}."
    segment = f"{head.rpartition(' = ')[2]} = {wrong}"
    answer = int(problem["answer"]) + shift
    if step < 4:
        left, right = (int(line.rstrip(".").rpartition(" = ")[2]) for line in lines[1:3])
        lines[3] = f"(4) Then, the final equation is (A + B) = ({left} + {right}) = {answer}."
    lines[4] = f"(Final response) So the answer is {answer}."
    return "\n".join(lines), str(step), segment


def _turn(attempt: str, source: str, **values: Any) -> Row:
    return {
        "attempt": attempt,
        "attempt_source": source,
        "attempt_by": "student-digest" if source == "student" else source,
        "student_feedback": None,
        "feedback": None,
        "feedback_source": None,
        "feedback_by": None,
        "correct": None,
        "error_step": None,
        "error_segment": None,
        "error_class": None,
        **values,
    }


def _wrong(attempt: str, source: str, step: str, segment: str, error_class: str, student: str | None) -> Row:
    sentence = error_feedback(Attempt.parse(attempt), step, segment, "there is a calculation error")
    return _turn(
        attempt,
        source,
        student_feedback=student,
        feedback=sentence,
        feedback_source="script-v1",
        feedback_by="script-v1",
        correct=False,
        error_step=step,
        error_segment=segment,
        error_class=error_class,
    )


def _right(attempt: str, source: str) -> Row:
    by = "student" if source == "student" else "script-v1"
    return _turn(
        attempt,
        source,
        feedback=terminal_feedback(Attempt.parse(attempt)),
        feedback_source=by,
        feedback_by=by,
        correct=True,
    )


def trajectory(problem: Row, iteration: int, sample: int, kind: str, rng: random.Random) -> Row:
    """`kind`: direct, self-improved, repaired (in 1 or 2 rounds) or discarded."""
    gold = problem["rationale"]
    error_class = rng.choice(ERROR_CLASSES)
    bad, step, segment = _spoil(problem, rng)
    student = terminal_feedback(Attempt.parse(bad)) if iteration > 1 and kind != "self-improved" else None
    turns = [_right(gold, "student")]
    if kind == "self-improved":
        first = _wrong(bad, "student", step, segment, error_class, None)
        turns = [{**first, "feedback_source": "student", "feedback_by": "student-digest"}, _right(gold, "student")]
    elif kind == "repaired":
        turns = [_wrong(bad, "student", step, segment, error_class, student)]
        if rng.random() < 0.4:
            again, step2, segment2 = _spoil(problem, rng)
            turns.append(_wrong(again, "script-v1", step2, segment2, rng.choice(ERROR_CLASSES), None))
        turns.append(_right(gold, "script-v1"))
    elif kind == "discarded":
        turns = [_wrong(bad, "student", step, segment, error_class, student)]
        turns += [_wrong(*_again(problem, rng), error_class, None) for _ in range(2)]
    return {
        "trajectory_id": f"i{iteration}-{problem['problem_id']}-{sample}",
        **{key: problem[key] for key in ("problem_id", "task", "subtask", "seen", "question", "answer")},
        "iteration": iteration,
        "sample": sample,
        "seed": rng.getrandbits(31),
        "num_tokens": 60 * len(turns),
        "truncated": False,
        "status": "discarded" if kind == "discarded" else "correct",
        "reason": "too_many_rounds" if kind == "discarded" else None,
        "round": sum(turn["attempt_source"] != "student" for turn in turns),
        "edited": kind in ("repaired", "discarded"),
        "turns": turns,
    }


def _again(problem: Row, rng: random.Random) -> tuple[str, str, str, str]:
    attempt, step, segment = _spoil(problem, rng)
    return attempt, "script-v1", step, segment


def triplets(row: Row, rng: random.Random) -> list[Row]:
    if row["status"] != "correct":
        return []
    found = []
    for number, turn in enumerate(row["turns"]):
        improves = not turn["correct"]
        dropped = improves and rng.random() < 0.15
        found.append(
            {
                "triplet_id": f"{row['trajectory_id']}-{number}",
                "kind": "x_imp" if improves else "x_T",
                "origin": None if improves else "direct" if len(row["turns"]) == 1 else "repaired",
                "kept": not dropped,
                "reason": rng.choice(["unchanged", "inconsistent_final", "too_long"]) if dropped else None,
                **{key: row[key] for key in ("trajectory_id", "problem_id", "task", "subtask", "seen", "question")},
                "answer": row["answer"],
                "iteration": row["iteration"],
                "turn": number,
                "attempt": turn["attempt"],
                "feedback": turn["feedback"],
                "updated": row["turns"][number + 1]["attempt"] if improves else None,
                "error_class": turn["error_class"],
            }
        )
    return found


def _evaluation(problems: list[Row], accuracy: float, tries: float, rng: random.Random) -> tuple[list[Row], Row]:
    rows = []
    for problem in problems:
        first = rng.random() < accuracy * (1.0 if problem["seen"] else 0.6)
        attempted = rng.random() < tries
        right = (rng.random() < 0.8 if first else rng.random() < 0.2) if attempted else first
        rows.append(
            {
                **{k: problem[k] for k in ("problem_id", "task", "subtask", "seen", "question", "answer")},
                "attempt_by": "0" * 64,
                "turns": [{"attempt": problem["rationale"], "feedback": None}] * (1 + attempted),
                "final_answer": problem["answer"] if right else "0",
                "right": right,
                "first_right": first,
                "attempted": attempted,
                "truncated": False,
                "num_tokens": 120,
            }
        )
    return rows, evaluate_rows(rows)


class Builder:
    """Writes stages under a run's directory and notes them in its record."""

    def __init__(self, output: Path, seed: int, iterations: int) -> None:
        self.rng = random.Random(seed)
        self.plan = RunPlan(RunConfig(seed=seed, iterations=iterations), output)
        self.clock = 1_760_000_000.0

    def _about(self, label: str, num_in: int, kept: int, **more: Any) -> tuple[str, Row]:
        key = f"{label.rpartition('/')[2].partition('-')[0]}-v1-{self.rng.getrandbits(64):016x}"
        seconds = round(self.rng.uniform(0.3, 30), 3)
        about = {"stage": label, "label": label, "key": key, "in": num_in, "kept": kept, "dropped": {}, "metrics": {}}
        about |= {"expert": {}, "started": self.clock, "seconds": seconds, **more}
        self.clock += seconds
        return join(self.plan.store, label, key), about

    def buffer(self, entry: str, iteration: int | None, stage: str, schema: str, rows: list[Row], **more: Any) -> Ref:
        num_in, num_kept = more.pop("num_in", len(rows)), more.pop("num_kept", len(rows))
        uri, about = self._about(f"{entry}/{stage}", num_in, num_kept, **more)
        ref = write_buffer(uri, schema, rows, (), about)
        self.plan.note(entry, iteration, **{stage: ref})
        return ref

    def training(self, entry: str, iteration: int | None, stage: str, num_rows: int, start: float) -> None:
        steps = max(4, num_rows // 2)
        losses = [
            {"step": i, "loss": start * (0.35 + 0.65 * 0.97**i) + self.rng.gauss(0, 0.02), "learning_rate": 1e-6}
            for i in range(1, steps + 1)
        ]
        metrics = {"losses": losses, "num_steps": steps}
        uri, about = self._about(f"{entry}/{stage}", num_rows, num_rows, metrics=metrics)
        ref = Ref(uri=uri, digest=f"{self.rng.getrandbits(256):064x}", kind="checkpoint")
        write_manifest(uri, {**about, **ref.model_dump(exclude={"uri"}), "shards": [], "side": []})
        self.plan.note(entry, iteration, **{stage: ref})

    def evaluation(self, entry: str, iteration: int | None, problems: list[Row], accuracy: float, tries: float) -> None:
        rows, figures = _evaluation(problems, accuracy, tries, self.rng)
        self.buffer(entry, iteration, "evaluate", "answers-2", rows, metrics={"eval": figures})

    def collection(self, name: str, iteration: int, train: list[Row], spoil: dict[str, Any] | None) -> list[Row]:
        """generate, feedback-0, improve-1, feedback-1, filter; returns the triplets."""
        kinds = self.rng.choices(["direct", "self-improved", "repaired", "discarded"], [3, 0.5, 6, 1], k=len(train))
        rows = [trajectory(p, iteration, 0, kind, self.rng) for p, kind in zip(train, kinds, strict=True)]
        for row in rows if spoil else []:
            row.update({key: value for key, value in spoil.items() if key in row})
            for turn in row["turns"]:
                turn.update({key: value for key, value in spoil.items() if key in turn})
        generated = [{**row, "status": "generated", "round": 0, "edited": False} for row in rows]
        self.buffer(
            name, iteration, "generate", "trajectories-2", generated, dropped={"duplicate": 3}, num_in=len(rows) + 3
        )
        classes = [row["turns"][0]["error_class"] for row in rows if row["turns"][0]["error_class"]]
        counts = {name: classes.count(name) for name in ERROR_CLASSES}
        metrics = {
            "error_classes": {k: n for k, n in counts.items() if n},
            "num_directly_correct": kinds.count("direct"),
            "num_open": 1,
        }
        expert = {"calls": len(rows), "cache_hits": 0, "cost_usd": 0.0}
        self.buffer(name, iteration, "feedback_0", "trajectories-2", rows, metrics=metrics, expert=expert)
        self.buffer(name, iteration, "improve_1", "trajectories-2", rows, expert=expert)
        discards = {"too_many_rounds": kinds.count("discarded")}
        self.buffer(
            name,
            iteration,
            "feedback_1",
            "trajectories-2",
            rows,
            expert=expert,
            dropped=discards,
            num_kept=len(rows) - kinds.count("discarded"),
        )
        cut = [triplet for row in rows for triplet in triplets(row, self.rng)]
        reasons = [triplet["reason"] for triplet in cut if not triplet["kept"]]
        dropped = {reason: reasons.count(reason) for reason in set(reasons)}
        kept = len(cut) - len(reasons)
        metrics = {"num_improvements": kept}
        self.buffer(name, iteration, "filter", "triplets-1", cut, dropped=dropped, num_kept=kept, metrics=metrics)
        return cut

    def balance(self, name: str, iteration: int, cut: list[Row]) -> int:
        rows = [
            {
                "row_id": f"{t['triplet_id']}-row",
                "bucket": "improvement" if t["kind"] == "x_imp" else "correct",
                **{key: t[key] for key in ("kind", "problem_id", "triplet_id", "iteration")},
                "segments": [{"role": "attempt", "text": t["attempt"]}],
            }
            for t in cut
            if t["kept"] and self.rng.random() < 0.8
        ]
        more = len(cut) - len(rows)
        self.buffer(name, iteration, "balance", "rows-1", rows, num_in=len(cut), dropped={"balanced_away": more})
        return len(rows)


def build_run(
    output: Path,
    *,
    seed: int = 0,
    iterations: int = 3,
    num_train: int = 60,
    num_test: int = 120,
    unseen: bool = True,
    stop: str = "",
    spoil: dict[str, Any] | None = None,
) -> RunRecord:
    """A run in `output`. `stop`: "start" (nothing but the problems), "few" (iteration 2 ended early), "middle"
    (iteration 2 has no evaluation). `spoil`: columns of trajectories and turns to overwrite."""
    b = Builder(output, seed, iterations)
    names = [name for name, seen in SUBTASKS.items() if seen or unseen]
    train = [_problem(b.rng, names[i % 2], "train") for i in range(num_train)]
    test = [_problem(b.rng, names[i % len(names)], "test") for i in range(num_test)]
    uri, about = b._about("problems", 0, num_train + num_test)
    b.plan.record.problems = write_buffer(uri, "problems-1", train + test, (), about)
    b.plan.save()
    if stop == "start":
        return b.plan.record
    gold = [{"triplet_id": None, "kind": "x_T", "kept": True} for _ in train]
    b.training(RATIONALE, 0, "train", len(gold), 1.4)
    b.evaluation(RATIONALE, 0, test, 0.5, 0.0)
    for k in range(1, iterations + 1):
        name = f"tripost-{k}"
        cut = b.collection(name, k, train, spoil)
        if stop == "few" and k == 2:
            b.plan.record.message = "Iteration 2 collected 12 improvements, fewer than balance.min_improvements = 60."
            break
        b.training(name, k, "train", b.balance(name, k, cut), 0.9)
        if stop == "middle" and k == 2:
            return b.plan.record
        b.evaluation(name, k, test, 0.5 + 0.02 * k, 0.2 * k)
    done = [e for e in b.plan.record.entries if e.iteration and "train" in e.stages]
    for k in range(1, len(done) + 1):
        b.training(CONTINUED, None, f"train_{k}", len(gold), 0.6)
    b.evaluation(CONTINUED, None, test, 0.54, 0.0)
    b.plan.finish()
    return b.plan.record
