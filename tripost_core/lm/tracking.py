"""A training's metrics: a Parquet table beside the checkpoint, and experiment trackers where the config wants them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tripost_core.config import TrackingConfig
from tripost_core.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from transformers import TrainerCallback

METRICS_FILE = "training_metrics.parquet"
COLUMNS = ("step", "epoch", "loss", "learning_rate", "grad_norm", "num_trained_tokens", "seconds")
"""One row per optimiser step. `num_trained_tokens` and `seconds` count from the training's beginning; `loss` is the
weighted loss of the step, `grad_norm` the gradient's before clipping."""


def write_metrics(history: Sequence[Mapping[str, Any]], directory: Path) -> None:
    """The Trainer's log as `training_metrics.parquet` in a finished checkpoint's directory. Raises StorageError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    steps = [entry for entry in history if "loss" in entry]
    kinds = {name: pa.int64() if name in ("step", "num_trained_tokens") else pa.float64() for name in COLUMNS}
    table = pa.table({name: pa.array([entry.get(name) for entry in steps], kind) for name, kind in kinds.items()})
    try:
        pq.write_table(table, directory / METRICS_FILE, compression="zstd")
    except OSError as error:
        raise StorageError(f"{directory / METRICS_FILE} cannot be written: {error}.") from error


def trackers(config: TrackingConfig, label: str, is_first: bool) -> list[TrainerCallback]:
    """Callbacks of the trackers in `config`, for the training `label` of its run; none but on the first rank.

    Where a tracker puts things and which server it talks to can be set by its own environment variables, and its key
    comes from there alone. Raises ConfigError where a tracker is not installed.
    """
    if not is_first:
        return []
    found: list[TrainerCallback] = []
    for name in config.report_to:
        try:
            found.append(_MAKERS[name](config, label))
        except (ImportError, RuntimeError) as error:
            raise ConfigError(
                f"tracking.report_to names {name}, which is not installed here (pip install 'tripost[trackers]'): "
                f"{' '.join(str(error).split())}"
            ) from None
    return found


def run_name(config: TrackingConfig, label: str) -> str:
    """`word_sorting/tripost-1/train`."""
    return f"{Path(config.directory).name}/{label}" if config.directory else label


def _tensorboard(config: TrackingConfig, label: str) -> TrainerCallback:
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    root = Path(os.environ.get("TENSORBOARD_LOGGING_DIR") or Path(config.directory) / "tensorboard")
    # A training that goes on after an interruption adds to the steps that are there.
    return TensorBoardCallback(SummaryWriter(log_dir=str(root / label)))  # type: ignore[no-untyped-call]


def _wandb(config: TrackingConfig, label: str) -> TrainerCallback:
    import wandb
    from transformers.integrations import WandbCallback

    os.environ.setdefault("WANDB_PROJECT", config.project)
    if config.directory:
        os.environ.setdefault("WANDB_DIR", config.directory)

    class OneRunPerTraining(WandbCallback):  # type: ignore[misc]
        """Stages share a process, and a run of wandb would go on over all of them."""

        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            super().on_train_end(*args, **kwargs)
            wandb.finish()

    return OneRunPerTraining()


def _mlflow(config: TrackingConfig, label: str) -> TrainerCallback:
    from transformers.integrations import MLflowCallback

    os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", config.project)
    if config.directory:
        os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{Path(config.directory) / 'mlflow.db'}")
    return MLflowCallback()


_MAKERS = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}
