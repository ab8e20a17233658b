"""What the filter reads in a triplet's text: the step that its feedback names, and what the update makes of it.

`content_reason` and `kept_lines` say it of one triplet. `content_reasons` and `kept_characters` say the same of whole
columns: expressions decide the rows of the usual form, and every other row goes to the functions for one.
"""

from __future__ import annotations

import polars as pl

from tripost_core.trajectory import FINAL, Attempt, Feedback, label

X_IMP, X_T = "x_imp", "x_T"

CONTENT = ("kind", "problem_id", "attempt", "feedback", "updated")
"""Triplets that are equal in these are the same."""

# The sentence as `trajectory.error_feedback` writes it. Nothing before "In step" can begin a match of `Feedback.parse`,
# and the quotes close before anything else can happen, so that both find the same step in it.
_USUAL_ERROR = (
    r"^(?:Step \([0-9.]+\)(?: to step \([0-9.]+\) are| is) correct\. )?"
    r'In step \(([0-9]+(?:\.[0-9]+)*|Final response)\) the part "[^"]*" is incorrect'
)
# The pattern of `Feedback.parse` up to where its match is decided. Rust's engine knows no back-reference, so the two
# quotes are spelled out; on ASCII text both engines find the same first match and the same step.
_ANY_ERROR = (
    r"(?is)In step \(?([0-9]+(?:\.[0-9]+)*|Final response)\)?,? the part "
    r"""(?:".*" is incorrect|'.*' is incorrect)"""
)
_TERMINAL = r"(?i)final response is also correct"
_HEADER = r"\n\((?:[0-9]+(?:\.[0-9]+)*|Final response)\) "
_UNEVEN_BLANKS = r"[\x00-\x1f]|  "
_WINDOW = 200


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
    found = decided(frame)
    reasons = found["reason"]
    unusual = (~found["certain"]).arg_true()
    if not len(unusual):
        return reasons
    rows = frame[unusual].select("attempt", "feedback", "updated").iter_rows()
    return reasons.scatter(unusual, pl.Series([content_reason(*row) for row in rows], dtype=pl.String))


def decided(frame: pl.DataFrame) -> pl.DataFrame:
    """What can be said by expressions: `reason`, and whether it is `certain`.

    First by the characters that follow the kept lines, which is enough for most rows; what they leave open, by the
    whole texts.
    """
    steps, known = error_steps(frame["feedback"])
    found = _at_the_step(frame, steps, known)
    open_rows = (~found["certain"]).arg_true()
    if not len(open_rows):
        return found
    told = _by_whole_texts(frame[open_rows], steps.gather(open_rows))
    return pl.DataFrame({name: found[name].scatter(open_rows, told[name]) for name in ("reason", "certain")})


def _at_the_step(frame: pl.DataFrame, steps: pl.Series, known: pl.Series) -> pl.DataFrame:
    """`decided` by a window on either text from the line that the feedback names.

    An improvement for certain: all texts are ASCII; the attempt has a line with the step's header and a blank, every
    line before it has a header; the update begins with the same lines; and of the characters that follow, neither
    side's are the beginning of the other's. These are words with one blank or newline between two, and newlines count
    as blanks, so where they part the words part.
    """
    return (
        _texts(frame, steps)
        .with_columns(
            same=pl.col("attempt") == pl.col("updated"),
            known=known,
            window=_as_blanks("attempt_text", pl.col("kept")),
            window_updated=_as_blanks("updated_text", pl.col("kept")),
        )
        .select(
            improvement=pl.col("usual")
            & _begins_alike()
            & ~pl.col("window").str.contains(_UNEVEN_BLANKS)
            & ~pl.col("window_updated").str.contains(_UNEVEN_BLANKS)
            & ~pl.col("window").str.starts_with(pl.col("window_updated"))
            & ~pl.col("window_updated").str.starts_with(pl.col("window")),
            unparsable=pl.col("known") & pl.col("step").is_null(),
            same=pl.col("known") & pl.col("step").is_not_null() & pl.col("same"),
        )
        .select(
            reason=pl.when("unparsable").then(pl.lit("unparsable_feedback")).when("same").then(pl.lit("no_difference")),
            certain=pl.col("improvement").fill_null(value=False) | pl.col("unparsable") | pl.col("same"),
        )
        .collect()
    )


def _by_whole_texts(frame: pl.DataFrame, steps: pl.Series) -> pl.DataFrame:
    """`decided` for rows of which all that is unusual is where, or whether, their words differ, or that a line before
    the step was touched."""
    words = [_as_blanks(name).str.strip_chars(" ") for name in ("attempt", "updated")]
    return (
        _texts(frame, steps)
        .with_columns(**dict(zip(("words", "words_updated"), words, strict=True)))
        .select(
            certain=(
                pl.col("usual")
                & ~pl.col("words").str.contains(_UNEVEN_BLANKS)
                & ~pl.col("words_updated").str.contains(_UNEVEN_BLANKS)
            ).fill_null(value=False),
            reason=pl.when(pl.col("words") == pl.col("words_updated"))
            .then(pl.lit("no_difference"))
            .when(~_begins_alike())
            .then(pl.lit("prefix_changed")),
        )
        .select(reason=pl.when("certain").then("reason"), certain="certain")
        .collect()
    )


def _texts(frame: pl.DataFrame, steps: pl.Series) -> pl.LazyFrame:
    """The texts between newlines; `kept`, where the step's line begins; `head`, what stands before it; `usual`:
    everything is ASCII, there is such a line, and every line before it has a header."""
    return (
        frame.lazy()
        .select(
            "attempt",
            "updated",
            attempt_text=pl.lit("\n") + pl.col("attempt"),
            updated_text=pl.lit("\n") + pl.col("updated") + pl.lit("\n"),
            ascii=_is_ascii("attempt") & _is_ascii("updated"),
            step=steps,
        )
        .with_columns(kept=_place_of_step())
        .with_columns(head=pl.col("attempt_text").str.head(pl.col("kept")))
        .with_columns(usual=pl.col("ascii") & _is_numbered("head"))
    )


def _begins_alike() -> pl.Expr:
    return pl.col("updated_text").str.starts_with(pl.col("head") + pl.lit("\n"))


def _as_blanks(column: str, start: pl.Expr | None = None) -> pl.Expr:
    """The text, or a window on it, with a blank for every newline."""
    text = pl.col(column) if start is None else pl.col(column).str.slice(start, _WINDOW)
    return text.str.replace_all("\n", " ", literal=True)


def _is_numbered(column: str) -> pl.Expr:
    """Whether every line has a header; of text that begins with the newline of its first line, or is empty."""
    return pl.col(column).str.count_matches(_HEADER) == pl.col(column).str.count_matches("\n", literal=True)


def error_steps(feedbacks: pl.Series) -> tuple[pl.Series, pl.Series]:
    """(what stands in the brackets of the step's header, or null where no step is named; whether that is known)."""
    steps = feedbacks.str.extract(_USUAL_ERROR)
    other = steps.is_null().arg_true()
    known = pl.Series("known", [True], dtype=pl.Boolean).new_from_index(0, len(feedbacks))
    if not len(other):
        return steps, known
    found = pl.DataFrame({"feedback": feedbacks.gather(other)}).select(
        step=pl.col("feedback").str.extract(_ANY_ERROR), ascii=_is_ascii("feedback")
    )
    final = pl.col("step").str.head(1).is_in(["f", "F"])
    told = found.select(pl.when("ascii").then(pl.when(final).then(pl.lit(label(FINAL))).otherwise("step")))
    return steps.scatter(other, told.to_series()), known.scatter(other, found["ascii"])


def kept_characters(frame: pl.DataFrame) -> pl.Series:
    """The number of characters of `kept_lines` for every row; columns `attempt`, `feedback`, not null."""
    steps, _ = error_steps(frame["feedback"])
    found = (
        frame.lazy()
        .select(attempt_text=pl.lit("\n") + pl.col("attempt"), ascii=_is_ascii("attempt"), step=steps)
        .with_columns(kept=_place_of_step())
        .with_columns(head=pl.col("attempt_text").str.head(pl.col("kept")))
        .with_columns(usual=(pl.col("ascii") & _is_numbered("head")).fill_null(value=False))
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
    usual = pl.DataFrame({"feedback": feedbacks}).select(
        usual=_is_ascii("feedback")
        & pl.col("feedback").str.contains(_TERMINAL)
        & ~pl.col("feedback").str.contains("(?i)in step")
    )["usual"]
    return all(Feedback.parse(sentence).terminal for sentence in feedbacks.filter(~usual))


def _is_ascii(column: str) -> pl.Expr:
    return pl.col(column).str.len_bytes() == pl.col(column).str.len_chars()


def _place_of_step() -> pl.Expr:
    """Where the first line with the step's header begins, its newline counted in; of ASCII text, bytes = characters."""
    return pl.col("attempt_text").str.find(pl.format("\n({}) ", "step"), literal=True)
