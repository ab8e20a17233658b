"""pytest tests/test_generate.py"""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tripost_core.lm import generate
from tripost_core.lm.generate import choose, sample, uniform
from tripost_core.lm.kv_cache import SharedEndCache
from tripost_core.lm.student import Student

PROMPTS = (
    "Q: ((1 + 2) - (3 * 4)) =",
    "Q: 7",
    "",
    "Q: Sort the following words alphabetically:\nList: pear apple fig",
    "Q: " + "(12 - -3) * " * 8 + "5 =",
)
ENDS = [1, *range(3, 40)]  # as many tokens end an output here, so that rows end at all lengths


@pytest.fixture(scope="module")
def student(toy_student):
    toy_student.model.generation_config.eos_token_id = ENDS
    yield toy_student
    toy_student.model.generation_config.eos_token_id = 1


ROUNDING = 1e-6
"""More than batches and caches change a probability by (a logit: ten times that); nearer, rounding may decide."""


def one_by_one(student, prompt, seed, temperature, max_new_tokens, ends=ENDS):
    """What `sample` has to give: no cache, no batch, the whole text through the model for every token.

    None where a token is decided by less than rounding.
    """
    ids = student.tokenizer(prompt)["input_ids"] or [student.tokenizer.eos_token_id]
    new = []
    with torch.inference_mode():
        while len(new) < max_new_tokens and len(ids) + len(new) < student.context_length:
            logits = student.model(torch.tensor([ids + new])).logits[:, -1, : len(student.tokenizer)]
            draw = uniform(np.array([seed], dtype=np.uint64), np.array([len(new)], dtype=np.uint64))
            if temperature == 0:
                best, second = logits[0].topk(2).values
                close = best - second < 10 * ROUNDING
            else:
                cumulative = torch.softmax(logits[0].double() / temperature, -1).cumsum(-1)
                close = (cumulative[:-1] - float(draw[0])).abs().min() < ROUNDING
            if close:
                return None
            new.append(int(choose(logits, temperature, torch.from_numpy(draw))))
            if new[-1] in ends:
                break
    return new


def check_against_one_by_one(student, prompts, seeds, temperature, max_new_tokens, batch_tokens, ends=ENDS):
    written = sample(
        student, prompts, seeds, temperature=temperature, max_new_tokens=max_new_tokens, batch_tokens=batch_tokens
    )
    assert len(written) == len(prompts)
    for prompt, seed, completion in zip(prompts, seeds, written, strict=True):
        new = one_by_one(student, prompt, seed, temperature, max_new_tokens, ends)
        if new is None:
            continue
        num_prompt = len(student.tokenizer(prompt)["input_ids"])
        shown = new[:-1] if new[-1] in ends else new
        assert completion.text == student.tokenizer.decode(shown, skip_special_tokens=True)
        assert completion.num_tokens == len(new)
        assert completion.finished_by_eos == (new[-1] in ends)
        assert completion.truncated == (new[-1] not in ends)
        assert num_prompt + completion.num_tokens <= student.context_length


@settings(max_examples=6, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from(PROMPTS), st.integers(0, 2**63 - 1)), min_size=1, max_size=8),
    temperature=st.sampled_from([0.0, 0.7, 1.0]),
    max_new_tokens=st.integers(1, 80),
    batch_tokens=st.sampled_from([1, 256, 500, 65536]),
)
def test_a_row_is_the_same_in_every_batch(student, rows, temperature, max_new_tokens, batch_tokens):
    prompts, seeds = zip(*rows, strict=True)
    check_against_one_by_one(student, prompts, seeds, temperature, max_new_tokens, batch_tokens)


def other_architectures():
    from transformers import GPT2Config, MistralConfig

    shared = {"vocab_size": 512, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "initializer_range": 0.3}
    yield GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=100, **shared)
    yield MistralConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=100,
        sliding_window=12,
        **shared,
    )


@pytest.mark.parametrize("config", list(other_architectures()), ids=lambda config: config.model_type)
def test_other_architectures(toy_student, config):
    """Learned positions, and attention to a window of the last tokens only."""
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(config).eval()
    student = Student("other", model, toy_student.tokenizer, "", 100)
    check_against_one_by_one(student, PROMPTS, range(len(PROMPTS)), 1.0, 50, 300, ends=[1])


@pytest.mark.parametrize("batch_tokens", [400, 1500, 6000])
def test_memory_is_bounded_by_batch_tokens(student, batch_tokens):
    sizes = []

    def note(module, args, kwargs):
        if isinstance(cache := kwargs["past_key_values"], SharedEndCache):
            keys = cache.layers[0].keys
            sizes.append((keys.shape[0], keys.shape[2]))

    handle = student.model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        prompts = [PROMPTS[i % len(PROMPTS)] for i in range(40)]
        sample(student, prompts, range(40), temperature=1.0, max_new_tokens=100, batch_tokens=batch_tokens)
    finally:
        handle.remove()
    assert max(rows * columns for rows, columns in sizes) <= batch_tokens
    assert max(rows for rows, _ in sizes) > 1


@settings(max_examples=15, deadline=None)
@given(data=st.data(), seed=st.integers(0, 1000))
def test_stop_cuts_right_after_the_first_stop_text(student, data, seed):
    settings_ = {"temperature": 1.0, "max_new_tokens": 40, "batch_tokens": 4096}
    whole = sample(student, [PROMPTS[0]], [seed], **settings_)[0]
    ends = [i for i, c in enumerate(whole.text) if c.isascii() and c.isprintable()]
    if not ends:
        return
    end = data.draw(st.sampled_from(ends)) + 1
    stop = whole.text[data.draw(st.integers(max(0, end - 12), end - 1)) : end]
    cut = sample(student, [PROMPTS[1], PROMPTS[0]], [0, seed], stop=stop, **settings_)[1]
    assert cut.text == whole.text[: whole.text.index(stop) + len(stop)]
    assert cut.num_tokens <= whole.num_tokens
    assert not cut.finished_by_eos
    assert not cut.truncated
    if cut.num_tokens > 1:
        shorter = {**settings_, "max_new_tokens": cut.num_tokens - 1}
        assert stop not in sample(student, [PROMPTS[0]], [seed], **shorter)[0].text


def test_prompts_that_fill_the_context(student):
    short = dataclasses.replace(student, context_length=20)
    prompts = ["Q: " + "1 + " * 20, "Q: 1", "Q: " + "x" * 18]
    written = sample(short, prompts, [1, 2, 3], temperature=0, max_new_tokens=500, batch_tokens=4096)
    for completion in (written[0], written[2]):
        assert (completion.text, completion.num_tokens) == ("", 0)
        assert completion.truncated
        assert not completion.finished_by_eos
    num_prompt = len(student.tokenizer("Q: 1")["input_ids"])
    assert written[1].finished_by_eos or written[1].num_tokens == 20 - num_prompt


def test_progress_and_text_are_reported(student):
    reported, texts = [], {0: "", 1: ""}
    written = sample(
        student,
        PROMPTS[:2],
        [5, 6],
        temperature=1.0,
        max_new_tokens=30,
        batch_tokens=4096,
        progress=lambda *numbers: reported.append(numbers),
        on_text=lambda index, text: texts.__setitem__(index, text),
    )
    assert reported == [(1, 2), (2, 2)]
    assert texts == dict(enumerate(completion.text for completion in written))


def test_a_long_row_gives_signs_of_life(student, monkeypatch):
    monkeypatch.setattr(generate, "SECONDS_BETWEEN_SIGNS", -1.0)
    reported = []
    (written,) = sample(
        student,
        PROMPTS[:1],
        [5],
        temperature=1.0,
        max_new_tokens=30,
        batch_tokens=4096,
        progress=lambda *numbers: reported.append(numbers),
    )
    assert reported[0] == (0, 1) and reported[-1] == (1, 1) and len(reported) >= written.num_tokens > 2


def test_nothing_to_do(student):
    assert sample(student, [], [], temperature=1.0, max_new_tokens=5, batch_tokens=256) == []


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=30), st.integers(0, 2**64 - 1), st.data())
def test_choose_never_takes_an_impossible_token(logits, seed, data):
    impossible = data.draw(st.sets(st.integers(0, len(logits) - 1), max_size=len(logits) - 1))
    row = torch.tensor([logits])
    row[0, list(impossible)] = -torch.inf
    draws = uniform(np.full(50, seed, dtype=np.uint64), np.arange(50, dtype=np.uint64))
    for draw in [*draws, 0.0, 1 - 2.0**-32]:
        token = int(choose(row, 1.0, torch.tensor([draw], dtype=torch.float64)))
        assert token < len(logits)
        assert token not in impossible
    assert int(choose(row, 0.0, None)) == int(row.argmax())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_choose_follows_the_distribution(temperature):
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0])
    n = 40_000
    draws = uniform(np.full(n, 77, dtype=np.uint64), np.arange(n, dtype=np.uint64))
    tokens = choose(logits.expand(n, -1), temperature, torch.from_numpy(draws))
    observed = torch.bincount(tokens, minlength=4) / n
    expected = torch.softmax(logits / temperature, -1)
    assert torch.allclose(observed, expected, atol=5 * 0.5 / n**0.5)


def test_draws_of_neighbouring_seeds_and_positions_are_unrelated():
    seeds, counters = np.meshgrid(np.arange(200, dtype=np.uint64), np.arange(200, dtype=np.uint64))
    draws = uniform(seeds.ravel(), counters.ravel()).reshape(200, 200)
    assert draws.min() >= 0
    assert draws.max() < 1
    assert len(np.unique(draws)) > 39_990
    assert abs(draws.mean() - 0.5) < 0.01
    assert np.abs(np.corrcoef(draws) - np.eye(200)).max() < 0.4
    assert np.abs(np.corrcoef(draws.T) - np.eye(200)).max() < 0.4
