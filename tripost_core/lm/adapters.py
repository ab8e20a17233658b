"""LoRA and QLoRA: a few trained matrices beside frozen weights, merged into them at the end (peft).

What leaves a training is always a whole model, so generation, evaluation and the next iteration know nothing of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from tripost_core.config import LoraConfig
from tripost_core.errors import ConfigError

if TYPE_CHECKING:
    from peft import PeftModel


def add_adapters(model: PreTrainedModel, config: LoraConfig, seed: int) -> PeftModel:
    """The model with adapters that change nothing yet; half of their numbers are random, by `seed`.

    Raises ConfigError without peft, or for modules that the model lacks.
    """
    peft = _peft()
    if getattr(model, "is_loaded_in_4bit", False):
        model = peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    targets: Any = config.target_modules
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(seed)
    try:
        return peft.get_peft_model(model, settings)
    except ValueError as error:
        raise ConfigError(f"train.lora does not fit the student: {' '.join(str(error).split())[:300]}") from error


def merged(model: PeftModel, student_dir: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The whole model with the adapters in its weights, in `dtype`: where they were trained beside quantised or bf16
    weights, they go into the exact ones of `student_dir`."""
    base = model.get_base_model()
    if not getattr(base, "is_loaded_in_4bit", False) and base.dtype == dtype:
        return model.merge_and_unload()  # type: ignore[no-any-return, operator]
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
    from transformers import AutoModelForCausalLM

    whole = AutoModelForCausalLM.from_pretrained(student_dir, dtype=dtype, use_safetensors=True, local_files_only=True)
    again = get_peft_model(whole, model.peft_config["default"])
    set_peft_model_state_dict(again, get_peft_model_state_dict(model))
    return again.merge_and_unload()  # type: ignore[no-any-return, operator]


def quantised(student_dir: Path, device: torch.device) -> PreTrainedModel:
    """The student's weights in 4 bits (nf4, double quantisation), computing in bf16. Raises ConfigError."""
    if device.type != "cuda":
        raise ConfigError("train.lora.quantize: 4bit needs a CUDA device.")
    try:
        import bitsandbytes  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        raise ConfigError(
            "train.lora.quantize: 4bit needs the package bitsandbytes (pip install 'tripost[qlora]')."
        ) from None
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return AutoModelForCausalLM.from_pretrained(
        student_dir, quantization_config=config, dtype=torch.bfloat16, use_safetensors=True, local_files_only=True,
        device_map={"": device},
    )  # fmt: skip


def _peft() -> Any:
    try:
        import peft
    except ImportError:
        raise ConfigError("train.lora needs the package peft (pip install 'tripost[train]').") from None
    return peft
