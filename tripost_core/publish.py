"""A trained student for others: its checkpoint, a model card that has the run's numbers, and the way to a model hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tripost_core.config import RunConfig
from tripost_core.errors import ModelError, StorageError
from tripost_core.record import METHOD_NAMES, Entry, RunRecord
from tripost_core.stages import local_checkpoint

_LEFT_BEHIND = ("manifest.json", "README.md")


def write_package(record: RunRecord, run: Path, entry: Entry, directory: Path) -> Path:
    """The student's files and `README.md`, its model card, in a new directory. Raises StorageError."""
    assert entry.student is not None, "asked of the record"
    source = local_checkpoint(entry.student)
    if not source.is_dir():
        raise StorageError(f"The student {entry.name} is gone: there is no {source}.")
    try:
        directory.mkdir(parents=True, exist_ok=False)
        for path in sorted(source.iterdir()):
            if path.is_file() and path.name not in _LEFT_BEHIND:
                shutil.copyfile(path, directory / path.name)
        (directory / "README.md").write_text(model_card(record, run, entry), encoding="utf-8")
    except FileExistsError:
        raise StorageError(f"{directory} is there already.") from None
    except OSError as error:
        raise StorageError(f"{directory} cannot be written: {error.strerror or error}.") from error
    return directory


def model_card(record: RunRecord, run: Path, entry: Entry) -> str:
    """Markdown with the metadata block of a model hub: where the student comes from, how it was trained, its scores."""
    assert entry.student is not None, "asked of the record"
    config = record.run_config
    base = config.student.model
    iteration = config.iterations if entry.iteration is None else entry.iteration
    report = _report(run)
    scores = [e for e in report.get("iterations", []) if e.get("eval")]
    improves = record.method in ("tripost", "si-demo") and bool(entry.iteration)
    trained = record.method_name if entry.iteration else METHOD_NAMES["rationale"]
    lines = ["---"]
    if "/" in base and not Path(base).exists():
        lines.append(f"base_model: {base}")
    lines += ["library_name: transformers", "pipeline_tag: text-generation", "tags:", "- tripost", "---", ""]
    lines += [
        f"# {record.run_id}: {entry.name}",
        "",
        f"A student trained by {trained} (Yu et al., 2023, arXiv 2310.13522) on "
        f"{record.task_name.replace('_', ' ')}"
        + (": it attempts a question, criticises its attempt, and improves it." if improves else "."),
        "",
        f"- Started from `{base}`; checkpoint digest `{entry.student.digest}`.",
        f"- Iteration {iteration}; seed {config.seed}; expert: {_expert(config.expert.model_dump())}.",
        f"- Training: {_training(config, entry, improves)}.",
        f"- Configuration fingerprint `{record.config_fingerprint}`.",
        "",
    ]
    if scores:
        lines += [
            "Test questions, greedy decoding, percent:",
            "",
            "| | seen | unseen | total | first attempt | SI.Freq | SI.Contrib | n |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        lines += [_score_row(e) for e in scores]
        lines.append("")
    lines += [
        "SI.Freq: share of answers with an attempt to improve; SI.Contrib: those that end right, of all questions.",
        "",
        "Prompt: `Q: ` and the question, a new line, then",
        "",
        f"    {_header(record)}",
        "",
    ]
    return "\n".join(lines)


def push(directory: Path, repository: str, private: bool) -> str:
    """Uploads a package; its address. The token is that of the hub's own login (HF_TOKEN). Raises ModelError."""
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.upload_folder(
            folder_path=directory, repo_id=repository, commit_message="A student trained by TriPosT"
        )
    except Exception as error:  # no token, no such namespace, no network, ...
        said = " ".join(str(error).split()).split(". ")[0][:200]
        raise ModelError(f"The hub does not take {repository}: {type(error).__name__}: {said}.") from error
    return str(getattr(done, "repo_url", "") or repository)


def _report(run: Path) -> dict[str, Any]:
    path = run / "report.json"
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read: {error}.") from None


def _score_row(entry: dict[str, Any]) -> str:
    scores = entry["eval"]

    def cell(metric: str, part: str) -> str:
        value = scores[metric].get(part)
        return "" if value is None else f"{100 * value:.1f}"

    cells = [cell("accuracy", part) for part in ("seen", "unseen", "total")]
    cells += [cell(metric, "total") for metric in ("first_attempt_accuracy", "si_freq", "si_contrib")]
    return f"| {entry['name']} | {' | '.join(cells)} | {scores['n']['total']} |"


def _expert(expert: dict[str, Any]) -> str:
    return f"`{expert['model']}`" if expert["kind"] == "llm" else "the task's script"


def _training(config: RunConfig, entry: Entry, improves: bool) -> str:
    train = config.rationale if entry.iteration == 0 else config.train
    how = "LoRA, merged" if train.lora else "all weights"
    passes = f"{train.num_epochs} epoch{'' if train.num_epochs == 1 else 's'}"
    if entry.iteration is None and config.method == "tripost":
        passes = "as many steps as TriPosT took"
    said = f"{how}; peak learning rate {train.learning_rate:g}, {passes}, batches of {train.batch_size} rows"
    return said + (f", weight {train.improvement_weight:g} on feedback and improvement" if improves else "")


def _header(record: RunRecord) -> str:
    from tripost_core.problems import load_task

    return load_task(record.run_config.task_reference).answer_header
