"""The text format: parsing is lossless, and feedback of every source and wording says the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tripost_core.trajectory import FINAL, Attempt, Feedback, error_feedback, label, terminal_feedback

headers = st.lists(st.integers(1, 30), min_size=1, max_size=4).map(lambda n: ".".join(map(str, n)))
bodies = st.text(st.characters(exclude_characters="\n", codec="utf-8"), max_size=30)
lines = st.one_of(
    st.builds(lambda h, b: f"({h}) {b}", headers, bodies), st.just("(Final response) So the answer is 3."), bodies
)
attempts = st.lists(lines, max_size=8).map("\n".join)
segments = bodies.map(str.strip).filter(bool)
reasons = st.from_regex(r"[a-z][a-z ,]{0,30}[a-z]", fullmatch=True)


@given(st.text())
def test_parsing_any_text_loses_nothing(text):
    assert Attempt.parse(text).text == text


@given(attempts)
def test_parsing_an_attempt_loses_nothing_and_finds_each_header_once_per_line(text):
    attempt = Attempt.parse(text)
    assert attempt.text == text
    assert len(attempt.steps) == (text.count("\n") + 1 if text else 0)
    for step in attempt.steps:
        if step.header is not None:
            assert step.line.startswith(f"({label(step.header)})")
            assert step.line.endswith(step.body)


@given(st.lists(headers, unique=True, min_size=1, max_size=6), st.data())
def test_the_steps_before_a_header_are_those_above_its_line(names, data):
    attempt = Attempt.parse("\n".join(f"({name}) x" for name in names))
    place = data.draw(st.integers(0, len(names) - 1))
    assert [s.header for s in attempt.before(names[place])] == names[:place]
    assert attempt.index_of(names[place]) == place
    assert attempt.last_numbered_header == names[-1]


@given(attempts, st.one_of(headers, st.just(FINAL)), segments, reasons)
def test_error_feedback_says_what_it_was_made_from(text, step, segment, reason):
    sentence = error_feedback(Attempt.parse(text), step, segment, reason)
    for spelled in (sentence, f"Feedback: {sentence}", f"  {sentence}  "):
        parsed = Feedback.parse(spelled)
        assert (parsed.error_step, parsed.error_segment, parsed.reason) == (step, segment, reason)
        assert parsed.parsed and not parsed.terminal


@given(attempts)
def test_terminal_feedback_is_terminal(text):
    parsed = Feedback.parse(terminal_feedback(Attempt.parse(text)))
    assert parsed.terminal and parsed.error_step is None


def test_terminal_feedback_names_the_last_step_that_is_there():
    attempt = Attempt.parse("(1) a\n(2) b\n(2.1) c\n(Final response) d")
    assert terminal_feedback(attempt) == "Step (1) to step (2.1) are correct. The final response is also correct."
    one = "Step (1) is correct. The final response is also correct."
    assert terminal_feedback(Attempt.parse("(1) a\n(Final response) d")) == one


@pytest.mark.parametrize(
    ("step", "start"),
    [("1", "In step (1)"), ("2", "Step (1) is correct. In"), ("3", "Step (1) to step (2) are correct. In")],
)
def test_error_feedback_calls_the_steps_before_correct(step, start):
    attempt = Attempt.parse("(1) a\n(2) b\n(3) c\n(Final response) d")
    assert error_feedback(attempt, step, "a", "of this").startswith(start)


def test_a_missing_step_comes_after_all_there_are():
    sentence = error_feedback(Attempt.parse("(1) a\n(2) b"), "3", "b", "step (3) is missing.")
    assert sentence == (
        'Step (1) to step (2) are correct. In step (3) the part "b" is incorrect. This is because step (3) is missing.'
    )


@pytest.mark.parametrize(
    "text",
    [
        'Step (1) to (2) are correct. In step (3) the part " (20 - 2) = 17 " is incorrect. This is because of this.',
        'Step (1) to step (2) are correct. In step (3) the part "(20 - 2) = 17" is incorrect. This is because of this.',
        "Step 1 to step 2 is correct. In step 3 the part '(20 - 2) = 17' is incorrect. This is because 'of this.'",
        'Step (1) until step (3) is right. In step (3) the part "(20 - 2) = 17" is incorrect. This is because of this',
    ],
)
def test_every_wording_of_paper_and_research_code_is_understood(text):
    parsed = Feedback.parse(text)
    assert (parsed.error_step, parsed.error_segment, parsed.reason) == ("3", "(20 - 2) = 17", "of this")


@pytest.mark.parametrize(
    "text",
    [
        "Step (1) to (4) are correct. The final response is also correct.",
        "Step 1 to step 4 is correct, and the final response is also correct.",
    ],
)
def test_every_wording_of_the_end_is_understood(text):
    assert Feedback.parse(text).terminal


@given(st.text(max_size=60))
def test_no_text_is_too_broken_to_be_read_as_feedback(text):
    parsed = Feedback.parse(text)
    assert parsed.parsed == (parsed.terminal or parsed.error_step is not None)


def test_agreement_is_the_same_step_and_one_segment_inside_the_other():
    mine = Feedback("", error_step="3", error_segment="(20 - 2) = 17")
    assert mine.agrees_with(Feedback("", error_step="3", error_segment="2) = 17"))
    assert Feedback("", error_step="3", error_segment="2) = 17").agrees_with(mine)
    assert not mine.agrees_with(Feedback("", error_step="2", error_segment="(20 - 2) = 17"))
    assert not mine.agrees_with(Feedback("", error_step="3", error_segment="18"))
    assert not mine.agrees_with(Feedback("", error_step="3", error_segment=""))
    assert not mine.agrees_with(Feedback("", terminal=True))
    assert Feedback("", terminal=True).agrees_with(Feedback("", terminal=True))
    assert not Feedback("nonsense").agrees_with(Feedback("nonsense"))
