"""Column names and types of every kind of Parquet buffer. A changed schema gets a new version number.

`id` columns come first; the digest of a buffer is taken over its rows in the order of that column.
"""

from __future__ import annotations

import pyarrow as pa

_TURN = [
    ("attempt", pa.string()),  # lines (1) ... (Final response) ..., however broken
    ("attempt_source", pa.string()),  # "student" or the expert's name
    ("attempt_by", pa.string()),  # checkpoint digest, or the expert's name
    ("student_feedback", pa.string()),  # what the student said of it, if anything
    ("feedback", pa.string()),  # the feedback that stands in the trajectory, null while not judged
    ("feedback_source", pa.string()),
    ("feedback_by", pa.string()),
    ("correct", pa.bool_()),  # FBK's verdict
    ("error_step", pa.string()),
    ("error_segment", pa.string()),
    ("error_class", pa.string()),
]

_GRADES = [  # what the task says of the attempts of a trajectory that has become correct (`editing.graded`)
    ("right", pa.bool_()),  # of the last one: its final answer
    ("consistent", pa.bool_()),  # of what a triplet ends with: its final answer is that of the step before it
]

_PROBLEM = [
    ("problem_id", pa.string()),
    ("task", pa.string()),
    ("subtask", pa.string()),
    ("seen", pa.bool_()),
    ("question", pa.string()),
    ("answer", pa.string()),
]

_ANSWER = [
    ("turns", pa.list_(pa.struct([("attempt", pa.string()), ("feedback", pa.string())]))),
    ("final_answer", pa.string()),
    ("right", pa.bool_()),
    ("first_right", pa.bool_()),
    ("attempted", pa.bool_()),  # more than one attempt
    ("truncated", pa.bool_()),
    ("num_tokens", pa.int32()),
]


def _trajectories(turn: list[tuple[str, pa.DataType]]) -> pa.Schema:
    return pa.schema(
        [
            ("trajectory_id", pa.string()),
            *_PROBLEM,
            ("iteration", pa.int32()),
            ("sample", pa.int32()),
            ("seed", pa.int64()),
            ("num_tokens", pa.int32()),
            ("truncated", pa.bool_()),  # the student's output ran into the context or token limit
            ("status", pa.string()),  # generated | open | correct | discarded
            ("reason", pa.string()),  # of a discard
            ("round", pa.int32()),  # improvements by the expert so far
            ("edited", pa.bool_()),  # some feedback of the student was replaced, or an expert wrote an attempt
            ("turns", pa.list_(pa.struct(turn))),
        ]
    )


SCHEMAS: dict[str, pa.Schema] = {
    "problems-1": pa.schema([*_PROBLEM, ("split", pa.string()), ("rationale", pa.string())]),
    "trajectories-1": _trajectories(_TURN),  # of runs that began before `trajectories-2`
    "trajectories-2": _trajectories([*_TURN, *_GRADES]),
    "triplets-1": pa.schema(
        [
            ("triplet_id", pa.string()),  # trajectory and turn
            ("kind", pa.string()),  # x_imp | x_T
            ("origin", pa.string()),  # x_T only: direct | repaired
            ("kept", pa.bool_()),
            ("reason", pa.string()),  # why it was dropped
            ("trajectory_id", pa.string()),
            *_PROBLEM,
            ("iteration", pa.int32()),
            ("turn", pa.int32()),
            ("attempt", pa.string()),
            ("feedback", pa.string()),
            ("updated", pa.string()),  # x_imp only
            ("error_class", pa.string()),
        ]
    ),
    "rows-1": pa.schema(
        [
            ("row_id", pa.string()),  # iteration and triplet, or `gold.` and problem
            ("bucket", pa.string()),  # improvement | correct | gold
            ("kind", pa.string()),  # x_imp | x_T
            ("problem_id", pa.string()),
            ("triplet_id", pa.string()),  # null for gold
            ("iteration", pa.int32()),
            # role: prompt | attempt | mistake | feedback | improvement; the text is their concatenation, without EOS
            ("segments", pa.list_(pa.struct([("role", pa.string()), ("text", pa.string())]))),
        ]
    ),
    "answers-1": pa.schema([*_PROBLEM, *_ANSWER]),  # of runs that began before `answers-2`
    "answers-2": pa.schema([*_PROBLEM, ("attempt_by", pa.string()), *_ANSWER]),  # whose attempts: as in trajectories
}


def id_column(schema: str) -> str:
    """The column whose values are unique and give the canonical order."""
    return SCHEMAS[schema].names[0]
