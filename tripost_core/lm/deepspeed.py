"""DeepSpeed configurations: ZeRO-2, ZeRO-2 with the optimiser in host memory, ZeRO-3, or a file of one's own.

Batch sizes, clipping and precision are `auto`, which the Trainer fills in. The optimiser is PyTorch's AdamW everywhere:
DeepSpeed's own would have to be compiled.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tripost_core.config import RanksConfig
from tripost_core.errors import ConfigError

_COMMON: dict[str, Any] = {
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "bf16": {"enabled": "auto"},
    "zero_allow_untested_optimizer": True,
    "zero_force_ds_cpu_optimizer": False,
    "steps_per_print": 10**9,
}
_ZERO: dict[str, dict[str, Any]] = {
    "zero2": {"stage": 2, "overlap_comm": False, "contiguous_gradients": True, "reduce_scatter": True},
    "zero2-offload": {
        "stage": 2,
        "overlap_comm": False,
        "contiguous_gradients": True,
        "offload_optimizer": {"device": "cpu", "pin_memory": True},
    },
    "zero3": {
        "stage": 3,
        "overlap_comm": True,
        "contiguous_gradients": True,
        "stage3_gather_16bit_weights_on_model_save": True,
    },
}


def zero_config(ranks: RanksConfig) -> dict[str, Any] | None:
    """The configuration that `deepspeed` names, None where it names none. Raises ConfigError."""
    if ranks.deepspeed == "none":
        return None
    if ranks.deepspeed in _ZERO:
        return {**_COMMON, "zero_optimization": dict(_ZERO[ranks.deepspeed])}
    path = Path(ranks.deepspeed)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        names = ", ".join(_ZERO)
        raise ConfigError(f"compute.ranks.deepspeed is none of none, {names}, and there is no file {path}.") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"The DeepSpeed configuration {path} cannot be read: {error}.") from None
    if not isinstance(found, dict):
        raise ConfigError(f"The DeepSpeed configuration {path} is not a JSON object.")
    return found


def zero_stage(config: dict[str, Any] | None) -> int:
    return int((config or {}).get("zero_optimization", {}).get("stage", 0))
