"""The built-in student's tokenizer: lossless, numbers by two digits, segments at token boundaries."""

import random
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tripost_core.lm.tokenizer import VOCAB_SIZE, build_tokenizer
from tripost_core.problems import TASKS, load_task, prompt
from tripost_core.trajectory import Attempt, error_feedback, terminal_feedback

TEMPLATES = st.sampled_from(
    [
        "\nFeedback:",
        "\n(Final response) So the answer is",
        "Q: ",
        "</s>",
        "<pad>",
        " is incorrect",
        "12345",
        "\n(1)",
    ]
)
TEXTS = st.lists(TEMPLATES | st.text(max_size=12), max_size=8).map("".join)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """As a user of the checkpoint gets it: written to disk and read by the Auto class."""
    from transformers import AutoTokenizer

    directory = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer().save_pretrained(directory)
    return AutoTokenizer.from_pretrained(directory)


@given(text=TEXTS)
@settings(max_examples=200, deadline=None)
def test_encoding_is_lossless(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id and tokenizer.eos_token_id not in ids
    assert tokenizer.decode(ids[1:]) == text
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


@given(text=TEXTS)
@settings(max_examples=200, deadline=None)
def test_offsets_cover_the_text_in_order(tokenizer, text):
    offsets = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]
    assert all(a[0] <= b[0] for a, b in pairwise(offsets))
    covered = {position for start, end in offsets for position in range(start, end)}
    assert covered == set(range(len(text)))


@given(number=st.integers(0, 10**12))
@settings(deadline=None)
def test_numbers_are_groups_of_two_digits_from_the_right(tokenizer, number):
    groups = tokenizer.tokenize(f"({number} + {number})")
    digits = [group for group in groups if group.isdigit()]
    half = digits[: len(digits) // 2]
    assert half + half == digits and "".join(half) == str(number)
    assert all(len(group) == 2 for group in half[1:]) and len(half[0]) in (1, 2)


def test_special_tokens_differ_and_fit_the_embedding(tokenizer):
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3
    assert len(tokenizer) <= VOCAB_SIZE


@pytest.mark.parametrize("name", TASKS)
def test_segments_of_a_trajectory_begin_at_token_boundaries(tokenizer, name):
    task = load_task(name)
    rng = random.Random(5)
    for subtask in task.subtasks:
        for problem in task.generate(subtask.name, 5, seed=7):
            lines = task.rationale(problem.question)
            attempt = Attempt.parse(lines)
            step = rng.choice(attempt.steps)
            assert step.header
            feedback = error_feedback(attempt, step.header, step.body, "it is wrong")
            segments = [
                prompt(task, problem.question),
                f"\n{lines}",
                "\nFeedback:",
                f" {feedback}",
                f"\nUpdated {task.answer_header}",
                f"\n{lines}",
                "\nFeedback:",
                f" {terminal_feedback(attempt)}",
            ]
            text = "".join(segments)
            offsets = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]
            starts = {start for start, _ in offsets}
            position = 0
            for segment in segments:
                assert position in starts, segment[:40]
                position += len(segment)
            newlines = {match.start() for match in re.finditer(r"\n(?=\()", text)}
            assert newlines <= starts


def test_words_to_be_sorted_are_spelled(tokenizer):
    task = load_task("word_sorting")
    for problem in task.generate("4-7", 20, seed=3):
        words = problem.question.split("List: ")[1]
        tokens = tokenizer.tokenize(prompt(task, problem.question))
        assert [token.replace("Ġ", " ") for token in tokens[1:-1]] == list(words)
