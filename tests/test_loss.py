"""The weighted loss against a slow reference in numpy, and its independence of how a step is cut and padded."""

import copy
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.plain_loss import reference, reference_step
from tripost_core.lm.batches import Rows
from tripost_core.lm.encode import EncodedRow
from tripost_core.lm.loss import (
    MAX_LOGITS,
    attach_weighted_loss,
    chunked_cross_entropy_sum,
    count_trained_tokens,
    weighted_cross_entropy_sum,
)
from tripost_core.lm.packing import can_pack, pack, pad, use_varlen_attention
from tripost_core.lm.replicas import NUM_REPLICAS, ShareRunner, replicas

VOCABULARY = 11
TOKEN = st.tuples(st.integers(0, VOCABULARY - 1), st.sampled_from([0.0, 0.0, 1.0, 1.5, 3.0]))
ROWS = st.lists(st.lists(TOKEN, min_size=1, max_size=9), min_size=1, max_size=6).filter(
    lambda rows: any(weight for row in rows for _, weight in row[1:])
)


def encoded(rows):
    return [EncodedRow(str(n), *(tuple(column) for column in zip(*row, strict=True))) for n, row in enumerate(rows)]


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
    divisor = count_trained_tokens(pad(all_rows)["weights"])
    total = 0.0
    for part in cuts(list(range(len(rows))), data.draw):
        batch = pad([all_rows[i] for i in part])
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


@cache
def _model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def small_model():
    return copy.deepcopy(_model())


def step_of(model, parts, divisor):
    """(loss, gradients by parameter) of an optimiser step that is cut into these micro-batches."""
    model.zero_grad()
    loss = 0.0
    for batch in parts:
        share = model(**batch).loss / divisor
        share.backward()
        loss += share.item()
    return loss, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=ROWS, data=st.data(), packed=st.booleans(), checkpointing=st.booleans(),
    max_logits=st.sampled_from([1, 5 * VOCABULARY, MAX_LOGITS]),
)  # fmt: skip
def test_loss_and_gradients_of_a_model_are_the_reference_however_the_step_is_cut(
    rows, data, packed, checkpointing, max_logits
):
    expected, expected_gradients = reference_step(small_model(), rows)
    model = small_model()
    attach_weighted_loss(model, max_logits)
    if packed:
        assert can_pack(model)
        use_varlen_attention(model)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
    all_rows = encoded(rows)
    make = pack if packed else pad
    parts = [make([all_rows[i] for i in part]) for part in cuts(list(range(len(rows))), data.draw)]
    loss, gradients = step_of(model, [*parts, make([])], count_trained_tokens(pad(all_rows)["weights"]))
    assert abs(loss - expected) <= 1e-5 * max(1, abs(expected))
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS, data=st.data(), packed=st.booleans())
def test_two_threads_give_the_loss_and_gradients_of_the_reference(rows, data, packed):
    expected, expected_gradients = reference_step(small_model(), rows)
    models = replicas(small_model())
    assert len(models) == NUM_REPLICAS
    for model in models:
        attach_weighted_loss(model)
        if packed:
            use_varlen_attention(model)
    all_rows = encoded(rows)
    batches = Rows(all_rows, packed, NUM_REPLICAS)
    divisor = count_trained_tokens(pad(all_rows)["weights"])
    runner, loss = ShareRunner(models), 0.0
    for part in [*cuts(list(range(len(rows))), data.draw), []]:  # micro-batches, accumulated; the last has no row
        shares = batches.collate([all_rows[i] for i in part])["shares"]
        loss += runner.backward(lambda model, share: model(**share).loss / divisor, [[share] for share in shares])
    assert abs(loss - expected) <= 1e-5 * max(1, abs(expected))
    for name, parameter in models[0].named_parameters():
        torch.testing.assert_close(parameter.grad, expected_gradients[name], atol=1e-5, rtol=1e-4, msg=name)
    assert all(parameter.grad is None for model in models[1:] for parameter in model.parameters())


def test_a_model_that_draws_random_numbers_has_no_replicas():
    config = copy.deepcopy(_model().config)
    config.attention_dropout = 0.1
    assert len(replicas(LlamaForCausalLM(config))) == 1


@pytest.mark.parametrize("packed", [True, False])
def test_with_adapters_at_their_beginning_the_loss_is_the_models(packed):
    from peft import LoraConfig, get_peft_model

    rows = encoded([[(n % VOCABULARY, 1.5) for n in range(start, start + 9)] for start in range(4)])
    batch = (pack if packed else pad)(rows)
    losses = []
    for adapted in (False, True):
        model = small_model()
        attach_weighted_loss(model)
        if packed:
            use_varlen_attention(model)
        if adapted:
            model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
        losses.append(model(**batch).loss)
    assert abs(losses[0].item() - losses[1].item()) <= 1e-5
    losses[1].backward()
    assert sum(p.grad.abs().sum() for p in model.parameters() if p.grad is not None) > 0


def test_a_model_that_does_more_to_its_logits_than_its_output_layer_keeps_them():
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, final_logit_softcapping=0.5, attn_implementation="eager",
    )  # fmt: skip
    model = Gemma2ForCausalLM(config).eval()
    batch = pad(encoded([[(n % VOCABULARY, 1.0) for n in range(9)]]))
    logits = model(batch["input_ids"]).logits
    expected = weighted_cross_entropy_sum(logits, batch["input_ids"], batch["weights"])
    attach_weighted_loss(model)
    assert not can_pack(model)
    torch.testing.assert_close(model(**batch).loss, expected)


def test_the_logits_of_a_long_sequence_over_a_large_vocabulary_are_never_there_at_once():
    sizes = []

    def head(states):
        sizes.append(states.shape[0] * 32_000)
        return states @ weight

    weight = torch.randn(8, 32_000)
    hidden = torch.randn(1, 1024, 8, requires_grad=True)
    ids = torch.randint(0, 32_000, (1, 1024))
    loss = chunked_cross_entropy_sum(hidden, head, ids, torch.ones(1, 1024))
    loss.backward()
    assert max(sizes) <= MAX_LOGITS < 1024 * 32_000
    whole = hidden.detach().requires_grad_()
    expected = weighted_cross_entropy_sum(whole @ weight, ids, torch.ones(1, 1024))
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-2)
    torch.testing.assert_close(hidden.grad, whole.grad, rtol=1e-4, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=2, max_size=5), data=st.data())
def test_no_token_sees_its_neighbour_document(lengths, data):
    """Other ids in one row of a pack leave the hidden states of every other row as they are, bit for bit."""
    model = small_model().eval()
    use_varlen_attention(model)
    rows = encoded([[((7 * n + t) % VOCABULARY, 1.0) for t in range(length)] for n, length in enumerate(lengths)])
    changed = data.draw(st.integers(0, len(lengths) - 1))
    before = pack(rows)
    after = {**before, "input_ids": before["input_ids"].clone()}
    start = sum(lengths[:changed])
    span = slice(start, start + lengths[changed])
    after["input_ids"][0, span] = (after["input_ids"][0, span] + 1) % VOCABULARY

    def states(batch):
        inputs = {key: value for key, value in batch.items() if key != "weights"}
        with torch.no_grad():
            return model.model(**inputs).last_hidden_state[0]

    one, other = states(before), states(after)
    assert not torch.equal(one[span], other[span])
    for n, length in enumerate(lengths):
        if n != changed:
            at = slice(sum(lengths[:n]), sum(lengths[:n]) + length)
            assert torch.equal(one[at], other[at])


RANK = """
import sys
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

sys.path[:0] = [{tests!r}, {root!r}]
from test_loss import VOCABULARY, encoded, small_model
from tripost_core.lm.batches import MicroBatches
from tripost_core.lm.loss import attach_weighted_loss, count_trained_tokens
from tripost_core.lm.packing import pack, pad, use_varlen_attention

dist.init_process_group("gloo")
rank, num_ranks = dist.get_rank(), dist.get_world_size()
rows = encoded([[((n * 3 + t) % VOCABULARY, [0.0, 1.0, 1.5][(n + t) % 3]) for t in range(2 + n)] for n in range(7)])
model = small_model()
attach_weighted_loss(model)
if {packed}:
    use_varlen_attention(model)
replica = DistributedDataParallel(model)
order = MicroBatches([row.num_tokens for row in rows], batch_size=7, micro_batch_size={micro}, seed=3,
                     rank=rank, num_ranks=num_ranks, packed={packed})
parts = [({make})([rows[i] for i in part]) for part in order]
count = torch.tensor(sum(count_trained_tokens(part["weights"]) for part in parts))
dist.all_reduce(count)
loss = 0.0
for part in parts:
    share = replica(**part).loss * num_ranks / count
    share.backward()
    loss += share.item() / num_ranks
total = torch.tensor(loss, dtype=torch.float64)
dist.all_reduce(total)
if rank == 0:
    torch.save([total.item(), {{name: p.grad for name, p in model.named_parameters()}}], {out!r})
dist.destroy_process_group()
"""


@pytest.mark.parametrize(("packed", "micro"), [(True, 2), (False, 3)])
def test_two_ranks_give_the_loss_and_gradients_of_one(tmp_path, packed, micro):
    """7 rows in micro-batches of 2: one rank has a micro-batch more to do, and the other an empty one."""
    out = tmp_path / "rank0.pt"
    make = "pack" if packed else "pad"
    tests = Path(__file__).parent
    code = RANK.format(tests=str(tests), root=str(tests.parent), packed=packed, micro=micro, make=make, out=str(out))
    (tmp_path / "rank.py").write_text(code)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0"]
    subprocess.run([*command, "--standalone", str(tmp_path / "rank.py")], check=True, capture_output=True)
    loss, gradients = torch.load(out, weights_only=True)
    rows = [[((n * 3 + t) % VOCABULARY, [0.0, 1.0, 1.5][(n + t) % 3]) for t in range(2 + n)] for n in range(7)]
    expected, expected_gradients = reference_step(
        small_model(), [[(token, weight if t else 0.0) for t, (token, weight) in enumerate(row)] for row in rows]
    )
    assert abs(loss - expected) <= 1e-5
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


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
