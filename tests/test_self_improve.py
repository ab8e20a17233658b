"""pytest tests/test_self_improve.py"""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import ToyTask

from tripost_core.lm import generate
from tripost_core.lm.generate import Completion
from tripost_core.lm.self_improve import STOP, parse_turns, self_improve, split_segments, wave_seed

TASK = ToyTask()
HEAD = f"Q: How many?\n{TASK.answer_header}"
WRONG = "(1) It is 8.\n(Final response) So the answer is 8."
RIGHT = "(1) It is 7.\n(Final response) So the answer is 7."
ERROR = 'In step (1) the part "8" is incorrect. This is because it is 7.'
TERMINAL = "Step (1) is correct. The final response is also correct."
UPDATED = f"\nUpdated {TASK.answer_header}"

FRAGMENTS = st.sampled_from(
    [
        f"\n{WRONG}",
        f"\n{RIGHT}",
        f"\nFeedback: {ERROR}",
        f"\nFeedback: {TERMINAL}",
        "\nFeedback:",
        "Feedback:",
        UPDATED,
        "\nUpdated Answer: of another kind",
        "Updated Answer:",
        "\n",
        " ",
        "noise Feedback: in a line",
        "\r\n\u2028",
    ]
)
TEXTS = st.lists(FRAGMENTS | st.text(max_size=8), max_size=12).map("".join)
LINES = st.text(st.characters(exclude_characters="\n", exclude_categories=("Cs",)), max_size=20).filter(
    lambda line: not line.startswith(("Feedback:", "Updated Answer:"))
)
ATTEMPTS = st.lists(LINES, min_size=1, max_size=4).map("\n".join)
SENTENCES = LINES.map(str.strip)


@given(TEXTS)
def test_nothing_is_lost_in_the_segments(text):
    segments = split_segments(text)
    assert "".join(segment.text for segment in segments) == text
    assert segments[0].role == "attempt"
    turns = parse_turns(text)
    assert len(turns) == sum(segment.role == "attempt" for segment in segments)
    assert sum(turn.feedback is not None for turn in turns) == sum(s.role == "feedback" for s in segments)


@given(st.lists(st.tuples(ATTEMPTS, SENTENCES), min_size=1, max_size=4), st.booleans())
def test_turns_come_back_from_their_rendering(pairs, last_without_feedback):
    pairs = list(pairs)
    if last_without_feedback:
        pairs[-1] = (pairs[-1][0], None)
    text = UPDATED.join(
        f"\n{attempt}" + ("" if feedback is None else f"\nFeedback: {feedback}") for attempt, feedback in pairs
    )
    assert parse_turns(text) == pairs


class Writer:
    """Stands for `sample`: `write(prompt)` gives the text after a prompt, and whether EOS ends it."""

    def __init__(self, write):
        self.write = write
        self.waves = []

    def __call__(self, student, prompts, seeds, *, stop, progress, on_text, **settings):
        assert stop == STOP
        self.waves.append(list(zip(prompts, seeds, strict=True)))
        written = []
        for place, prompt in enumerate(prompts):
            text, by_eos = self.write(prompt)
            if STOP in text:
                text, by_eos = text[: text.index(STOP) + len(STOP)], False
            written.append(Completion(text, len(text), by_eos, not by_eos and STOP not in text))
            progress(place + 1, len(prompts))
            if on_text is not None:
                on_text(place, text)
        return written


def improve(monkeypatch, write, questions=("How many?",), max_improvements=3, **arguments):
    writer = Writer(write)
    monkeypatch.setattr(generate, "sample", writer)
    seeds = list(range(100, 100 + len(questions)))
    fixed = {"temperature": 0.0, "max_new_tokens": 9, "batch_tokens": 9, "max_improvements": max_improvements}
    return self_improve(object(), TASK, questions, seeds, **fixed, **arguments), writer


def scripted(answers):
    """Looks the prompt up; every text ends with EOS."""
    return lambda prompt: (answers[prompt], True)


def test_terminal_feedback_ends_it_in_one_go(monkeypatch):
    (record,), writer = improve(monkeypatch, scripted({HEAD: f"\n{RIGHT}\nFeedback: {TERMINAL}\nand more"}))
    assert record.turns == ((RIGHT, TERMINAL),)
    assert record.text.endswith(STOP)
    assert not record.truncated
    assert len(writer.waves) == 1


def test_an_attempt_without_feedback_ends_it(monkeypatch):
    (record,), writer = improve(monkeypatch, scripted({HEAD: f"\n{WRONG}"}))
    assert record.turns == ((WRONG, None),)
    assert len(writer.waves) == 1


def test_an_updated_attempt_is_asked_for_feedback_of_it_alone(monkeypatch):
    first = f"\n{WRONG}\nFeedback: {ERROR}{UPDATED}\n{RIGHT}"
    ask = f"{HEAD}\n{RIGHT}\nFeedback:"
    (record,), writer = improve(monkeypatch, scripted({HEAD: first, ask: f" {TERMINAL}"}))
    assert record.turns == ((WRONG, ERROR), (RIGHT, TERMINAL))
    assert [wave[0][0] for wave in writer.waves] == [HEAD, ask]
    assert record.text == f"{first}\nFeedback: {TERMINAL}"
    assert record.num_tokens == len(first) + len(TERMINAL) + 1


def test_an_error_without_update_is_asked_for_one_in_the_form_of_a_training_row(monkeypatch):
    ask = f"{HEAD}\n{WRONG}\nFeedback: {ERROR}{UPDATED}"
    answers = {HEAD: f"\n{WRONG}\nFeedback: {ERROR}", ask: f"\n{RIGHT}", f"{HEAD}\n{RIGHT}\nFeedback:": f" {TERMINAL}"}
    (record,), _ = improve(monkeypatch, scripted(answers))
    assert record.turns == ((WRONG, ERROR), (RIGHT, TERMINAL))


@pytest.mark.parametrize("max_improvements", [0, 1, 3])
def test_no_more_improvements_than_allowed(monkeypatch, max_improvements):
    def never_content(prompt):
        if prompt.endswith("Feedback:"):
            return f" {ERROR}", True
        return f"\n{WRONG}\nFeedback: {ERROR}{UPDATED}\n{WRONG}", True

    (record,), writer = improve(monkeypatch, never_content, max_improvements=max_improvements)
    assert len(record.turns) == max_improvements + 1
    assert all(turn.attempt == WRONG for turn in record.turns)
    assert len(writer.waves) <= 2 * max_improvements + 1


def test_what_is_cut_off_behind_the_last_allowed_attempt_is_not_held_against_it(monkeypatch):
    def cut_off(prompt):
        return f"\n{RIGHT}\nFeedback: {ERROR}{UPDATED}\n(1) It", False

    (alone,), _ = improve(monkeypatch, cut_off, max_improvements=0)
    (whole,), _ = improve(monkeypatch, cut_off, max_improvements=1)
    assert (alone.turns, alone.truncated) == (((RIGHT, ERROR),), False)
    assert (len(whole.turns), whole.truncated) == (2, True)


@given(st.integers(0, 2**32), st.integers(0, 4), st.integers(1, 6))
def test_any_student_comes_to_an_end(seed, max_improvements, num_rows):
    rng = random.Random(seed)
    parts = [f"\n{WRONG}", f"\nFeedback: {ERROR}", f"\nFeedback: {TERMINAL}", UPDATED, "\nFeedback:", " x", "\n"]
    write = lambda prompt: ("".join(rng.choices(parts, k=rng.randrange(5))), rng.random() < 0.9)  # noqa: E731
    reported = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        questions = [f"Number {i}?" for i in range(num_rows)]
        records, writer = improve(
            monkeypatch, write, questions, max_improvements, progress=lambda *numbers: reported.append(numbers)
        )
    assert len(writer.waves) <= 2 * max_improvements + 1
    assert reported == sorted(reported)
    assert reported[-1] == (num_rows, num_rows)
    for number, record in enumerate(records):
        prompts = [(p, s) for wave in writer.waves for p, s in wave if p.startswith(f"Q: Number {number}?")]
        assert len({s for _, s in prompts}) == len(prompts)  # every continuation draws on its own
        assert 1 <= len(record.turns) <= max_improvements + 1
        assert list(record.turns) == parse_turns(record.text)[: max_improvements + 1]


def test_text_grows_from_wave_to_wave(monkeypatch):
    first = f"\n{WRONG}\nFeedback: {ERROR}"
    ask = f"{HEAD}\n{WRONG}\nFeedback: {ERROR}{UPDATED}"
    seen = []
    answers = {HEAD: first, ask: f"\n{RIGHT}\nFeedback: {TERMINAL}"}
    (record,), _ = improve(monkeypatch, scripted(answers), on_text=lambda index, text: seen.append((index, text)))
    assert seen == [(0, first), (0, record.text)]


@given(st.integers(0, 2**63 - 1), st.integers(0, 9), st.integers(0, 9))
def test_wave_seeds_are_63_bits_and_differ(seed, one, other):
    assert 0 <= wave_seed(seed, one) < 2**63
    assert (wave_seed(seed, one) == wave_seed(seed, other)) == (one == other)


def test_a_real_model_that_has_learnt_the_form():
    """Two rows learnt by heart: the loop takes the model from its first attempt to its verdict on the second."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tripost_core.lm.student import Student
    from tripost_core.lm.tokenizer import VOCAB_SIZE, build_tokenizer

    tokenizer = build_tokenizer(256)
    texts = [
        f"{HEAD}\n{WRONG}\nFeedback: {ERROR}{UPDATED}\n{RIGHT}",
        f"{HEAD}\n{RIGHT}\nFeedback: {TERMINAL}",
    ]
    rows = [torch.tensor([*tokenizer(text)["input_ids"], tokenizer.eos_token_id]) for text in texts]
    # The first attempt is always the wrong one, so the second row is learnt from its feedback on only.
    num_given = [len(tokenizer(HEAD)["input_ids"]), len(tokenizer(f"{HEAD}\n{RIGHT}\nFeedback:")["input_ids"])]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=48,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=512,
        )
        model = LlamaForCausalLM(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
        for _ in range(150):
            losses = []
            for row, start in zip(rows, num_given, strict=True):
                labels = row.clone()
                labels[:start] = -100
                losses.append(model(input_ids=row[None], labels=labels[None]).loss)
            optimizer.zero_grad()
            sum(losses).backward()
            optimizer.step()
            if max(losses) < 0.05:
                break
    student = Student("learnt", model.eval(), tokenizer, "", 512)
    settings = {"temperature": 0.0, "max_new_tokens": 300, "max_improvements": 3, "batch_tokens": 4096}
    records = self_improve(student, TASK, ["How many?"] * 3, [1, 2, 3], **settings)
    for record in records:
        assert record.turns == ((WRONG, ERROR), (RIGHT, TERMINAL))
        assert not record.truncated
