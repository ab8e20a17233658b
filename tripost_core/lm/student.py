"""The small model M (paper section 2.1): load it, save it, name it by the digest of its content.

`tiny` and `arithmetic-checks` are checkpoints inside the package (tripost_core/students/, with a card each); everything
else is a directory or a hub name of a Hugging Face causal language model with safetensors weights. Code from a
checkpoint is never run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tripost_core.errors import ModelError, StorageError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

STUDENTS = Path(__file__).resolve().parents[1] / "students"
BUILT_IN = ("tiny", "arithmetic-checks")

_TOKENIZER_FILES = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
)
_CONFIG_FILES = ("config.json", "generation_config.json")
_VOLATILE_KEYS = (
    "transformers_version",
    "_name_or_path",
    "is_local",
    "local_files_only",
)  # how it was written or read
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Student:
    """A causal language model in evaluation mode and its tokenizer. `context_length` in tokens."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    digest: str
    context_length: int


def load_student(
    name_or_dir: str | os.PathLike[str],
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Student:
    """A built-in student, a checkpoint directory or a hub name, as a `Student`.

    `device` defaults to the first GPU or else the CPU; `dtype` to fp32 on the CPU and bf16 on a GPU.
    Raises ModelError (one sentence) for a directory that is missing, has no safetensors weights or broken files, and
    for a tokenizer that does not fit the model.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    directory = resolve_student(name_or_dir)
    digest = checkpoint_digest(directory)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = dtype or (torch.float32 if place.type == "cpu" else torch.bfloat16)
    try:
        with no_progress_bars():
            tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(
                directory,
                dtype=dtype,
                attn_implementation="sdpa",
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
            )
    except Exception as error:  # a checkpoint of others fails in as many ways as there are architectures
        raise ModelError(f"The student in {directory} cannot be loaded: {_sentence(error)}") from error
    _check_tokenizer(tokenizer, model, directory)
    return Student(
        name=str(name_or_dir),
        model=model.to(place).eval(),
        tokenizer=tokenizer,
        digest=digest,
        context_length=_context_length(model, tokenizer, directory),
    )


def resolve_student(name_or_dir: str | os.PathLike[str]) -> Path:
    """The directory of a student: a built-in one, a checkpoint, a run's last one (`runs/words`) or that of an entry of
    it (`runs/words/tripost-2`); a hub name is downloaded (safetensors, JSON and tokenizer files only).

    Raises ModelError where there is neither such a directory nor such a model, ConfigError for a run without it.
    """
    from tripost_core.run_student import student_of_run

    name = os.fspath(name_or_dir)
    if name in BUILT_IN:
        return STUDENTS / name
    directory = Path(name).expanduser()
    if (trained := student_of_run(directory)) is not None:
        return trained
    if directory.is_dir():
        return directory
    if directory.exists():
        raise ModelError(f"The student {name} is a file, not a checkpoint directory.")
    if isinstance(name_or_dir, Path) or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(f"The student directory {name} does not exist.")
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(name, allow_patterns=["*.safetensors", "*.json", "tokenizer*", "*.model", "*.txt"])
        )
    except Exception as error:  # offline, no such model, no access, ...
        reason = f"there is no such directory and the hub does not give it ({type(error).__name__})"
        raise ModelError(f"The student {name} cannot be had: {reason}.") from error


def checkpoint_digest(directory: str | os.PathLike[str]) -> str:
    """SHA-256 (hex) of what a checkpoint *is*: its tensors by name, its configuration and its tokenizer.

    How the tensors are spread over files, key order and the version of the writing library do not matter.
    Raises ModelError for a directory that is missing, without weights, or with files that cannot be read.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise ModelError(f"The student directory {directory} does not exist.")
    weights = sorted(directory.glob("*.safetensors"))
    if not weights:
        raise ModelError(f"The student directory {directory} holds no safetensors weights.")
    if not (directory / "config.json").is_file():
        raise ModelError(f"The student directory {directory} holds no config.json.")
    digest = hashlib.sha256()
    patterns = (*_CONFIG_FILES, *_TOKENIZER_FILES)
    for path in sorted({path for pattern in patterns for path in directory.glob(pattern)}):
        digest.update(f"file {path.name}\n".encode())
        digest.update(_logical_content(path))
    tensors: dict[str, tuple[Path, dict[str, Any], int]] = {}
    for path in weights:
        header, data_start = _safetensors_header(path)
        tensors |= {key: (path, entry, data_start) for key, entry in header.items() if key != "__metadata__"}
    for key in sorted(tensors):
        path, entry, data_start = tensors[key]
        digest.update(f"tensor {key} {entry['dtype']} {entry['shape']}\n".encode())
        for chunk in _read_range(path, data_start + entry["data_offsets"][0], data_start + entry["data_offsets"][1]):
            digest.update(chunk)
    return digest.hexdigest()


def save_student(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    directory: str | os.PathLike[str],
    dtype: torch.dtype | None = None,
    state: Mapping[str, torch.Tensor] | None = None,
) -> Path:
    """Writes a checkpoint directory that is either complete or not there; `dtype` (default: as it is) of the weights;
    `state`: the tensors, where the model does not hold them all itself.

    An existing checkpoint is replaced, the other files beside it are kept. Raises StorageError.
    """
    import torch
    from safetensors import SafetensorError

    directory = Path(directory)
    state = {
        key: value.detach().to("cpu", dtype if value.is_floating_point() else None)
        for key, value in (model.state_dict() if state is None else state).items()
    }
    before = model.config.dtype
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    except OSError as error:
        raise StorageError(f"The checkpoint {directory} cannot be written: {error.strerror}.") from error
    try:
        if directory.is_dir():
            shutil.copytree(directory, temporary, dirs_exist_ok=True)
            for old in temporary.glob("*.safetensors*"):
                old.unlink()
        model.config.dtype = next((v.dtype for v in state.values() if v.is_floating_point()), torch.float32)
        with no_progress_bars():
            model.save_pretrained(temporary, state_dict=state)
        tokenizer.save_pretrained(temporary)
        for path in [*temporary.rglob("*"), temporary]:
            path.chmod(0o755 if path.is_dir() else 0o644)  # both come private to their owner
            _fsync(path)
        if directory.exists():
            retired = temporary.with_name(temporary.name + ".old")
            directory.rename(retired)
            temporary.rename(directory)
            shutil.rmtree(retired)
        else:
            temporary.rename(directory)
        _fsync(directory.parent)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()).rstrip(".")
        raise StorageError(f"The checkpoint {directory} cannot be written: {reason}.") from error
    finally:
        model.config.dtype = before
        shutil.rmtree(temporary, ignore_errors=True)
    return directory


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Silences the bars of transformers, which mean little for a student and tear up the logs."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _check_tokenizer(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, directory: Path) -> None:
    if not tokenizer.is_fast:
        raise ModelError(f"The tokenizer in {directory} gives no character offsets, so it cannot be used.")
    if tokenizer.eos_token_id is None:
        raise ModelError(f"The tokenizer in {directory} has no end-of-sequence token.")
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(f"The tokenizer in {directory} has {len(tokenizer)} tokens, its model knows {rows}.")
    if tokenizer.pad_token_id is None:  # padding is masked out and never a target, so any token will do
        tokenizer.pad_token = tokenizer.eos_token


def _context_length(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: Path) -> int:
    for key in ("max_position_embeddings", "n_positions", "max_seq_len"):
        if isinstance(length := getattr(model.config, key, None), int):
            return length
    if tokenizer.model_max_length < 10**9:
        return int(tokenizer.model_max_length)
    raise ModelError(f"The student in {directory} does not say how long its context is.")


def _logical_content(path: Path) -> bytes:
    if path.suffix != ".json":
        return path.read_bytes()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"The file {path} is not valid JSON.") from error
    if isinstance(content, dict):
        content = {key: value for key, value in content.items() if key not in _VOLATILE_KEYS}
    return json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()


def _safetensors_header(path: Path) -> tuple[dict[str, Any], int]:
    """(header, offset of the data) of a safetensors file: 8 bytes of length, JSON, data."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        try:
            if 8 + length > size:
                raise ValueError
            header: dict[str, Any] = json.loads(file.read(length))
            end = 8 + length + max(e["data_offsets"][1] for k, e in header.items() if k != "__metadata__")
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise ModelError(f"The weights file {path} is not a safetensors file.") from error
    if end != size:
        raise ModelError(f"The safetensors file {path} is truncated.")
    return header, 8 + length


def _read_range(path: Path, start: int, end: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while start < end:
            chunk = file.read(min(_CHUNK, end - start))
            start += len(chunk)
            yield chunk


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sentence(error: Exception) -> str:
    """The first sentence of an exception's message."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.split(". ")[0].rstrip(".")[:300] + "."
