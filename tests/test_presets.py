"""The presets for larger students: the paper's numbers where they are the paper's, and an architecture that packs."""

from pathlib import Path

import pytest

from tripost_core.config_file import load_config

PRESETS = Path(__file__).parents[1] / "deployments" / "presets"


@pytest.mark.parametrize(
    ("name", "model", "p"),
    [("llama-7b", "huggyllama/llama-7b", 0.43), ("llama2-7b", "meta-llama/Llama-2-7b-hf", 0.26)],
)
def test_the_presets_of_7b_are_the_papers(name, model, p):
    """Sections 2.3 and 2.4: 4 epochs, peak 1e-6, linear with 20 % warm-up, 4 rows, 1,024 tokens, w = 1.5, t = 3."""
    config = load_config(PRESETS / f"{name}.yaml")
    assert (config.student.model, config.student.dtype, config.iterations) == (model, "bfloat16", 3)
    train = config.train
    assert (train.learning_rate, train.num_epochs, train.warmup_ratio) == (1e-6, 4, 0.2)
    assert (train.batch_size, train.max_length_tokens, train.improvement_weight) == (4, 1024, 1.5)
    assert (train.mask_attempt, train.lora) == (False, None)
    rationale = config.rationale
    assert (rationale.learning_rate, rationale.num_epochs, rationale.batch_size) == (1e-6, 5, 4)
    balance = config.balance
    assert balance.improvement_ratio / (balance.improvement_ratio + 2) == pytest.approx(p, abs=0.005)
    assert (balance.gold_ratio, balance.auto) == (1.0, False)
    assert config.compute.ranks.deepspeed == "zero2-offload"


def test_a_student_of_the_qwen3_family_trains_packed():
    """Of random weights; the shape of attention is the family's, with normalised queries and keys."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from tripost_core.lm.encode import EncodedRow
    from tripost_core.lm.loss import attach_weighted_loss
    from tripost_core.lm.packing import can_pack, pack, pad, use_varlen_attention

    assert load_config(PRESETS / "qwen3-0.6b.yaml").student.model == "Qwen/Qwen3-0.6B-Base"
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config).eval()
    assert can_pack(model)
    attach_weighted_loss(model)
    rows = [EncodedRow(str(n), tuple(range(n, n + 5 + n)), (0.0, *([1.5] * (4 + n)))) for n in range(4)]
    padded = model(**pad(rows)).loss
    use_varlen_attention(model)
    torch.testing.assert_close(model(**pack(rows)).loss, padded)
