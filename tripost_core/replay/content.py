"""What the filter reads in a triplet's text: the step that its feedback names, and what the update makes of it.

`content_reason` and `kept_lines` say it of one triplet. `sound` and `kept_characters` say the same of whole columns:
expressions decide the rows of the usual form, and every other row goes to the functions for one.
"""

from __future__ import annotations

import polars as pl

from tripost_core.trajectory import FINAL, Attempt, Feedback, label

X_IMP, X_T = "x_imp", "x_T"

CONTENT = ("kind", "problem_id", "attempt", "feedback", "updated")
"""Triplets that are equal in these are the same."""

# The pattern of `Feedback.parse` up to where its match is decided. Rust's engine knows no back-reference, so the two
# quotes are spelled out; on ASCII text both engines find the same first match and the same step.
_ERROR_STEP = (
    r"(?is)In step \(?([0-9]+(?:\.[0-9]+)*|Final response)\)?,? the part "
    r"""(?:".*" is incorrect|'.*' is incorrect)"""
)
_TERMINAL = r"(?i)final response is also correct"
_NUMBERED_LINES = r"^(?:\n\((?:[0-9]+(?:\.[0-9]+)*|Final response)\) [^\n]*)*$"
_CONTROL = r"[\x00-\x1f]"


def content_reason(attempt: str, feedback: str, updated: str) -> str | None:
    """Why an x_imp is no improvement to learn from, whatever its final answer says; None if it is one."""
    step = Feedback.parse(feedback).error_step
    if step is None:
        return "unparsable_feedback"
    if attempt.split() == updated.split():
        return "no_difference"
    untouched = Attempt.parse(attempt).untouched(step)
    return None if Attempt.parse(updated).steps[: len(untouched)] == untouched else "prefix_changed"


def kept_lines(attempt: str, feedback: str) -> str:
    """The lines that a repair leaves as they are, each with the newline before it."""
    step = Feedback.parse(feedback).error_step
    return "" if step is None else "".join(f"\n{kept.line}" for kept in Attempt.parse(attempt).untouched(step))


def content_reasons(frame: pl.DataFrame) -> pl.Series:
    """`content_reason` of every row; columns `attempt`, `feedback`, `updated`, none of them null."""
    unusual = (~sound(frame)).arg_true()
    reasons = pl.Series("reason", [None], dtype=pl.String).new_from_index(0, len(frame))
    if not len(unusual):
        return reasons
    rows = frame[unusual].select("attempt", "feedback", "updated").iter_rows()
    return reasons.scatter(unusual, pl.Series([content_reason(*row) for row in rows], dtype=pl.String))


def sound(frame: pl.DataFrame) -> pl.Series:
    """Where `content_reason` is None for certain: a sufficient condition that the usual row meets.

    All texts are ASCII; the attempt has a line with the step's header and a blank, every line before it has a header;
    the update begins with the same lines; and with the blanks taken out, the line that follows is not the beginning of
    the attempt's line nor the other way round, so that the words cannot be the same ones differently spaced.
    """
    head = pl.col("attempt_text").str.head(pl.col("kept"))
    following = r"^\n([^\n]*)"
    found = (
        frame.lazy()
        .select(
            _error_step(),
            attempt_text=pl.lit("\n") + pl.col("attempt"),
            updated_text=pl.lit("\n") + pl.col("updated") + pl.lit("\n"),
            ascii=_is_ascii("attempt") & _is_ascii("feedback") & _is_ascii("updated"),
        )
        .with_columns(kept=_place_of_step())
        .with_columns(
            head=head,
            line=pl.col("attempt_text").str.slice(pl.col("kept")).str.extract(following),
            line_updated=pl.col("updated_text").str.slice(pl.col("kept")).str.extract(following),
        )
        .with_columns(
            clean=~pl.col("line").str.contains(_CONTROL) & ~pl.col("line_updated").str.contains(_CONTROL),
            words=pl.col("line").str.replace_all(" ", "", literal=True),
            words_updated=pl.col("line_updated").str.replace_all(" ", "", literal=True),
        )
        .select(
            sound=pl.col("ascii")
            & pl.col("head").str.contains(_NUMBERED_LINES)
            & pl.col("updated_text").str.starts_with(pl.col("head") + pl.lit("\n"))
            & pl.col("clean")
            & ~pl.col("words").str.starts_with(pl.col("words_updated"))
            & ~pl.col("words_updated").str.starts_with(pl.col("words"))
        )
        .collect()
    )
    return found["sound"].fill_null(value=False)


def kept_characters(frame: pl.DataFrame) -> pl.Series:
    """The number of characters of `kept_lines` for every row; columns `attempt`, `feedback`, not null."""
    found = (
        frame.lazy()
        .select(
            _error_step(),
            attempt_text=pl.lit("\n") + pl.col("attempt"),
            ascii=_is_ascii("attempt") & _is_ascii("feedback"),
        )
        .with_columns(kept=_place_of_step())
        .with_columns(
            usual=pl.col("ascii")
            & pl.col("attempt_text").str.head(pl.col("kept")).str.contains(_NUMBERED_LINES).fill_null(value=False)
        )
        .select(kept=pl.when("usual").then("kept"))
        .collect()["kept"]
    )
    unusual = found.is_null().arg_true()
    if not len(unusual):
        return found
    rows = frame[unusual].select("attempt", "feedback").iter_rows()
    return found.scatter(unusual, pl.Series([len(kept_lines(*row)) for row in rows], dtype=pl.UInt32))


def hashes(value: pl.Expr) -> dict[str, pl.Expr]:
    """128 bits of a value, as columns `hash_0` and `hash_1`. For use in this process: other versions of polars have
    other hashes."""
    return {"hash_0": value.hash(0), "hash_1": value.hash(0x9E3779B97F4A7C15)}


def all_terminal(feedbacks: pl.Series) -> bool:
    """Whether every sentence says that the final response is correct."""
    frame = pl.DataFrame({"feedback": feedbacks})
    usual = frame.select(
        usual=_is_ascii("feedback") & pl.col("feedback").str.contains(_TERMINAL) & _error_step().is_null()
    )["usual"].fill_null(value=False)
    return all(Feedback.parse(sentence).terminal for sentence in feedbacks.filter(~usual))


def _is_ascii(column: str) -> pl.Expr:
    return pl.col(column).str.len_bytes() == pl.col(column).str.len_chars()


def _error_step() -> pl.Expr:
    """What stands in the brackets of the step's header; null where the sentence names none."""
    step = pl.col("feedback").str.extract(_ERROR_STEP)
    final = step.str.head(1).is_in(["f", "F"])
    return pl.when(final).then(pl.lit(label(FINAL))).otherwise(step).alias("step")


def _place_of_step() -> pl.Expr:
    """Where the first line with the step's header begins, its newline counted in; of ASCII text, bytes = characters."""
    return pl.col("attempt_text").str.find(pl.format("\n({}) ", "step"), literal=True)
