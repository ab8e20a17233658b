"""The weighted loss against a slow reference in numpy, and its independence of how a step is cut and padded."""

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from tripost_core.lm.encode import EncodedRow
from tripost_core.lm.loss import count_trained_tokens, weighted_cross_entropy_sum
from tripost_core.lm.train import collate

VOCABULARY = 11
TOKEN = st.tuples(st.integers(0, VOCABULARY - 1), st.sampled_from([0.0, 0.0, 1.0, 1.5, 3.0]))
ROWS = st.lists(st.lists(TOKEN, min_size=1, max_size=9), min_size=1, max_size=6).filter(
    lambda rows: any(weight for row in rows for _, weight in row[1:])
)


def encoded(rows):
    return [EncodedRow(str(n), *(tuple(column) for column in zip(*row, strict=True))) for n, row in enumerate(rows)]


def reference(logits_of_row, rows):
    """(loss, d loss / d logits of each row) in double precision, token by token from the definition."""
    total, count = 0.0, 0
    gradients = [np.zeros_like(logits) for logits in logits_of_row]
    for logits, gradient, row in zip(logits_of_row, gradients, rows, strict=True):
        for t in range(1, len(row)):
            token, weight = row[t]
            if weight == 0:
                continue
            exponentials = np.exp(logits[t - 1] - logits[t - 1].max())
            probabilities = exponentials / exponentials.sum()
            total += weight * -np.log(probabilities[token])
            count += 1
            gradient[t - 1] += weight * (probabilities - np.eye(VOCABULARY)[token])
    return total / count, [gradient / count for gradient in gradients]


def cuts(rows, draw):
    """Any way to spread the rows over micro-batches."""
    remaining = draw(st.permutations(rows))
    while remaining:
        size = draw(st.integers(1, len(remaining)))
        yield remaining[:size]
        remaining = remaining[size:]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS, data=st.data(), seed=st.integers(0, 2**16), extra=st.integers(0, 5))
def test_loss_and_gradients_are_the_reference_for_every_split_and_padding(rows, data, seed, extra):
    generator = np.random.default_rng(seed)
    logits = [generator.normal(scale=3, size=(len(row), VOCABULARY)) for row in rows]
    expected, expected_gradients = reference(logits, rows)
    tensors = [torch.tensor(row, dtype=torch.float32, requires_grad=True) for row in logits]
    all_rows = encoded(rows)
    divisor = count_trained_tokens(collate(all_rows)["weights"])
    total = 0.0
    for part in cuts(list(range(len(rows))), data.draw):
        batch = collate([all_rows[i] for i in part])
        length = batch["input_ids"].shape[1] + extra
        # What stands in the padding must not matter, so it is noise.
        padded = torch.full((len(part), length, VOCABULARY), 7.0) * torch.randn(len(part), length, VOCABULARY)
        ids = torch.nn.functional.pad(batch["input_ids"], (0, extra), value=VOCABULARY - 1)
        weights = torch.nn.functional.pad(batch["weights"], (0, extra))
        for n, i in enumerate(part):
            padded[n, : len(rows[i])] = tensors[i]
        loss = weighted_cross_entropy_sum(padded, ids, weights) / divisor
        assert loss.dtype == torch.float32
        loss.backward()
        total += loss.item()
    assert abs(total - expected) <= 1e-5 * max(1, abs(expected))
    for tensor, gradient in zip(tensors, expected_gradients, strict=True):
        np.testing.assert_allclose(tensor.grad.numpy(), gradient, atol=1e-5, rtol=1e-5)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS, data=st.data())
def test_gradients_of_a_model_do_not_depend_on_the_split(rows, data):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    model = LlamaForCausalLM(config)
    all_rows = encoded(rows)
    divisor = count_trained_tokens(collate(all_rows)["weights"])

    def step(parts):
        model.zero_grad()
        loss = 0.0
        for part in parts:
            batch = collate([all_rows[i] for i in part])
            logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            share = weighted_cross_entropy_sum(logits, batch["input_ids"], batch["weights"]) / divisor
            share.backward()
            loss += share.item()
        return loss, torch.cat([p.grad.flatten() for p in model.parameters()])

    one_by_one = step([[i] for i in range(len(rows))])
    split = step(list(cuts(list(range(len(rows))), data.draw)))
    assert abs(one_by_one[0] - split[0]) <= 1e-5
    torch.testing.assert_close(one_by_one[1], split[1], atol=1e-5, rtol=1e-5)


def test_untrained_tokens_get_no_gradient_even_where_the_model_gives_no_finite_number():
    logits = torch.zeros(1, 4, VOCABULARY)
    logits[0, 2] = float("nan")  # predicts the untrained last token
    logits.requires_grad_()
    loss = weighted_cross_entropy_sum(logits, torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1.0, 1.0, 2.0, 0.0]]))
    loss.backward()
    assert abs(loss.item() - 3 * np.log(VOCABULARY)) < 1e-5
    assert (logits.grad[0, 2:] == 0).all()


def test_a_micro_batch_without_trained_tokens_adds_nothing():
    logits = torch.randn(2, 3, VOCABULARY, requires_grad=True)
    loss = weighted_cross_entropy_sum(logits, torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 3))
    loss.backward()
    assert loss.item() == 0 and (logits.grad == 0).all()
