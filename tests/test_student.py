"""Loading, saving and naming students."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tripost_core.errors import ModelError, StorageError
from tripost_core.lm.student import (
    BUILT_IN,
    STUDENTS,
    checkpoint_digest,
    load_student,
    resolve_student,
    save_student,
)
from tripost_core.lm.tokenizer import VOCAB_SIZE, build_tokenizer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    directory = tmp_path_factory.mktemp("student") / "small"
    return save_student(LlamaForCausalLM(config), build_tokenizer(), directory)


@pytest.fixture
def copy(checkpoint, tmp_path):
    return shutil.copytree(checkpoint, tmp_path / "copy")


def test_saved_student_is_loaded_bit_for_bit(checkpoint, tmp_path):
    student = load_student(checkpoint, device="cpu")
    assert student.context_length == 4096 and student.digest == checkpoint_digest(checkpoint)
    assert student.model.dtype == torch.float32 and not student.model.training
    again = load_student(save_student(student.model, student.tokenizer, tmp_path / "again"), device="cpu")
    assert again.digest == student.digest
    for a, b in zip(student.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_bf16_checkpoint_is_computed_in_fp32_on_the_cpu(checkpoint, tmp_path):
    student = load_student(checkpoint, device="cpu")
    small = save_student(student.model, student.tokenizer, tmp_path / "bf16", dtype=torch.bfloat16)
    assert {t.dtype for t in load_file(small / "model.safetensors").values()} == {torch.bfloat16}
    loaded = load_student(small, device="cpu")
    assert loaded.model.dtype == torch.float32
    assert torch.equal(
        loaded.model.get_input_embeddings().weight,
        student.model.get_input_embeddings().weight.bfloat16().float(),
    )


def test_digest_is_that_of_the_content(copy, checkpoint):
    before = checkpoint_digest(checkpoint)
    config = json.loads((copy / "config.json").read_text())
    config["transformers_version"] = "0.0"
    (copy / "config.json").write_text(json.dumps(dict(reversed(config.items()))))
    weights = load_file(copy / "model.safetensors")
    names = sorted(weights)
    (copy / "model.safetensors").unlink()
    save_file({n: weights[n] for n in names[:3]}, copy / "model-1.safetensors", metadata={"format": "pt"})
    save_file({n: weights[n] for n in names[3:]}, copy / "model-2.safetensors")
    (copy / "README.md").write_text("a card is not content")
    assert checkpoint_digest(copy) == before
    weights[names[4]].flatten()[0] += 1e-3
    save_file({n: weights[n] for n in names[3:]}, copy / "model-2.safetensors")
    assert checkpoint_digest(copy) != before


def test_digest_knows_the_tokenizer(copy, checkpoint):
    path = copy / "tokenizer.json"
    path.write_text(path.read_text().replace("incorrect", "doubtful"))
    assert checkpoint_digest(copy) != checkpoint_digest(checkpoint)


def one_sentence(caught) -> str:
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".") and text[0].isupper()
    return text


def test_missing_directory(tmp_path):
    for name in (tmp_path / "none", str(tmp_path / "none"), "./none", "none"):
        with pytest.raises(ModelError) as caught:
            load_student(name)
        assert "does not exist" in one_sentence(caught)


def test_file_instead_of_a_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError) as caught:
        load_student(tmp_path / "file")
    assert "not a checkpoint directory" in one_sentence(caught)


def test_directory_without_weights(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelError) as caught:
        load_student(copy)
    assert "no safetensors weights" in one_sentence(caught)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_broken_json(copy, name):
    (copy / name).write_text("{")
    with pytest.raises(ModelError) as caught:
        load_student(copy)
    assert name in one_sentence(caught)


@pytest.mark.parametrize("kept", [0, 4, 100, 5000])
def test_truncated_weights(copy, kept):
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError) as caught:
        load_student(copy)
    assert "safetensors" in one_sentence(caught)


def test_config_that_does_not_describe_the_model(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "no_such_model"}))
    with pytest.raises(ModelError) as caught:
        load_student(copy)
    one_sentence(caught)


def test_tokenizer_with_more_tokens_than_the_model(copy):
    tokenizer = build_tokenizer()
    tokenizer.add_tokens([f"<extra {i}>" for i in range(VOCAB_SIZE)])
    tokenizer.save_pretrained(copy)
    with pytest.raises(ModelError) as caught:
        load_student(copy)
    assert "tokens" in one_sentence(caught)


def test_code_of_a_checkpoint_is_not_run(copy, tmp_path):
    proof = tmp_path / "ran"
    (copy / "evil.py").write_text(f"open({str(proof)!r}, 'w').close()\n")
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError):
        load_student(copy)
    assert not proof.exists()


def test_save_replaces_the_weights_and_keeps_the_card(copy):
    student = load_student(copy, device="cpu")
    (copy / "README.md").write_text("card")
    with torch.no_grad():
        student.model.get_input_embeddings().weight.zero_()
    save_student(student.model, student.tokenizer, copy)
    assert (copy / "README.md").read_text() == "card"
    assert not load_student(copy, device="cpu").model.get_input_embeddings().weight.any()
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_save_below_a_file_is_a_storage_error(checkpoint, tmp_path):
    student = load_student(checkpoint, device="cpu")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as caught:
        save_student(student.model, student.tokenizer, tmp_path / "file" / "student")
    one_sentence(caught)


def test_shipped_students_are_small():
    assert sorted(path.name for path in STUDENTS.iterdir()) == sorted(BUILT_IN)
    assert sum(path.stat().st_size for path in STUDENTS.rglob("*")) <= 8 * 10**6


@pytest.mark.parametrize("name", BUILT_IN)
def test_shipped_student(name):
    directory = resolve_student(name)
    assert directory == STUDENTS / name
    student = load_student(name, device="cpu")
    assert student.context_length >= 4096 and student.name == name
    assert student.tokenizer.pad_token_id != student.tokenizer.eos_token_id
    card = (directory / "README.md").read_text()
    assert f"tripost pretrain --preset {name}" in card and student.digest in card
    records = [json.loads(line) for line in (directory / "training_log.jsonl").read_text().splitlines()]
    assert records[-1]["step"] > records[0]["step"]
