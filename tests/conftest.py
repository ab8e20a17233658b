"""What all tests share: properties are not timed, since the machine that runs them may be busy with other work."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("tripost", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tripost")


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory):
    """A real Prefect server on the loopback interface, as `tripost run` starts it: its API's URL."""
    from flows.embedded_server import embedded_server

    home = tmp_path_factory.mktemp("prefect")
    with embedded_server(home, stack_home=home / "no-stack") as url:
        yield url


@pytest.fixture(scope="session")
def toy_student():
    """A random Llama of two layers with the project's tokenizer and a context of 256: fast, and writes nonsense.

    Its weights are large enough for clear preferences, so that rounding does not decide between tokens.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tripost_core.lm.student import Student
    from tripost_core.lm.tokenizer import VOCAB_SIZE, build_tokenizer

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=256,
            initializer_range=0.3,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
        )
        model = LlamaForCausalLM(config).eval()
    return Student("toy", model, build_tokenizer(256), "d" * 64, 256)
