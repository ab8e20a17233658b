"""A student made ready for a training, and made a plain checkpoint again after it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tripost_core.config import StudentConfig, TrainConfig
from tripost_core.errors import ConfigError
from tripost_core.lm.adapters import add_adapters, merged, quantised
from tripost_core.lm.deepspeed import zero_stage
from tripost_core.lm.loss import MAX_LOGITS, attach_weighted_loss
from tripost_core.lm.packing import can_pack, use_varlen_attention
from tripost_core.lm.replicas import replicas
from tripost_core.lm.student import Student, save_student


@dataclass(frozen=True)
class Prepared:
    """`model`: computes the weighted loss, in packed rows where `packed`, with adapters where they are wanted."""

    model: Any
    replicas: list[PreTrainedModel]
    """The model and its copies for several threads; the model alone where one thread is as good."""
    tokenizer: PreTrainedTokenizerBase
    packed: bool
    has_adapters: bool
    student_dir: Path
    attention: str
    use_cache: bool | None
    is_spread: bool
    """Every rank holds a part of the parameters only (ZeRO-3)."""

    @classmethod
    def of(
        cls,
        student: Student,
        settings: TrainConfig,
        config: StudentConfig,
        zero: dict[str, Any] | None,
        student_dir: Path,
        device: torch.device,
        seed: int,
        spread_over_threads: bool = False,
    ) -> Prepared:
        """Raises ConfigError where adapters or quantisation cannot be had."""
        model = student.model
        if settings.lora is not None and settings.lora.quantize == "4bit":
            model = quantised(student_dir, device)
        elif zero_stage(zero) == 3:
            model = _partitioned(student_dir)
        attention, use_cache = model.config._attn_implementation, getattr(model.config, "use_cache", None)
        packed = settings.packing and can_pack(model)
        threads = spread_over_threads and device.type == "cpu" and settings.lora is None
        models = replicas(model) if threads and not settings.gradient_checkpointing else [model]
        # With parameters spread over the ranks every use of the output layer is a collective, so that its number must
        # not depend on how many tokens a rank has.
        for each in models:
            attach_weighted_loss(each, None if zero_stage(zero) == 3 else MAX_LOGITS, like=student.model)
            if packed:
                use_varlen_attention(each)
        if settings.gradient_checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        trained: Any = model if settings.lora is None else add_adapters(model, settings.lora, seed)
        if settings.lora is not None and settings.gradient_checkpointing:
            model.enable_input_require_grads()
        spread, adapted = zero_stage(zero) == 3, settings.lora is not None
        if spread and adapted:
            raise ConfigError("train.lora and DeepSpeed ZeRO-3 do not go together here; ZeRO-2 does.")
        return cls(trained, models, student.tokenizer, packed, adapted, student_dir, attention, use_cache, spread)

    def save(self, trainer: Any, directory: Path) -> Path:
        """The trained student as a plain checkpoint, by the first rank; every rank has to call this."""
        state = trainer.accelerator.get_state_dict(trainer.model_wrapped) if self.is_spread else None
        if not trainer.args.should_save:
            return directory
        model: PreTrainedModel = self.model
        if self.has_adapters:
            model = merged(self.model, self.student_dir, torch.float32)
            state = None
        if state is not None:
            state = {key: value for key, value in state.items() if key not in (model.all_tied_weights_keys or {})}
        if self.use_cache is not None:
            model.config.use_cache = self.use_cache  # the Trainer turns it off, and generation needs it
        model.set_attn_implementation(self.attention)
        return save_student(model, self.tokenizer, directory, dtype=torch.float32, state=state)


def _partitioned(student_dir: Path) -> PreTrainedModel:
    """The model with its parameters spread over the ranks from the beginning (ZeRO-3): after the Trainer's arguments
    were made, `from_pretrained` does that by itself."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        student_dir, dtype=torch.float32, attn_implementation="sdpa", use_safetensors=True, local_files_only=True
    )
