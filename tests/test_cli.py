"""The command line: exit codes, one sentence for what a user can cause, help with an example. In this process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows import cli
from tripost_core.buffers import MANIFEST, write_buffer
from tripost_core.config_file import load_config
from tripost_core.experts.answers import Answer
from tripost_core.experts.response_cache import Paid, ResponseCache
from tripost_core.plan import RunPlan
from tripost_core.problems import TASKS, load_task

COMMANDS = (
    ("run",),
    ("pretrain",),
    ("evaluate",),
    ("solve",),
    ("oracle",),
    ("data", "generate"),
    ("data", "check"),
    ("show",),
    ("report",),
    ("cache", "show"),
    ("cache", "prune"),
    ("up",),
    ("down",),
)


@pytest.fixture
def tripost(monkeypatch, capsys):
    """Runs a command; returns exit code, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tripost", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "with space.yaml"
    path.write_text(yaml.safe_dump({"task": "word_sorting", "iterations": 1}), encoding="utf-8")
    return path


def assert_one_sentence(result: tuple[int, str, str], *parts: str) -> None:
    code, _, err = result
    lines = [line for line in err.splitlines() if line.startswith("tripost: ")]
    assert code == 2 and len(lines) == 1 and "Traceback" not in err, err
    for part in parts:
        assert part in lines[0]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(tripost, command):
    code, out, _ = tripost(*command, "--help")
    assert code == 0 and f"Example: {'echo' if command == ('oracle',) else 'tripost'}" in " ".join(out.split())


def test_unknown_config_key(tripost, config):
    config.write_text("train:\n  lerning_rate: 1\n", encoding="utf-8")
    assert_one_sentence(tripost("run", config), "train.lerning_rate", "learning_rate")


def test_missing_config_file(tripost, tmp_path):
    assert_one_sentence(tripost("run", tmp_path / "none.yaml"), "none.yaml")


@pytest.mark.parametrize("override", ["iterations", "train.learning_rate=fast", "train.learning_rate=-1", "a.b.c=1"])
def test_bad_override(tripost, config, override):
    assert_one_sentence(tripost("run", config, "--set", override))


def test_missing_question_file(tripost, config, tmp_path):
    arguments = ("--set", f"data.train_file={tmp_path / 'none.jsonl'}", "--output", tmp_path / "run")
    assert_one_sentence(tripost("run", config, *arguments), "none.jsonl")


@pytest.mark.parametrize("made", [False, True], ids=["missing", "without weights"])
def test_a_student_directory_that_is_none(tripost, tmp_path, made):
    directory = tmp_path / "student"
    if made:
        directory.mkdir()
        (directory / "config.json").write_text("{}")
    assert_one_sentence(tripost("evaluate", "--model", directory, "--task", "word_sorting"), "student")


def test_unknown_task(tripost):
    assert_one_sentence(tripost("evaluate", "--model", "tiny", "--task", "chess"), "chess")


@pytest.mark.parametrize("command", ["show", "report"])
def test_a_directory_without_a_run(tripost, tmp_path, command):
    assert_one_sentence(tripost(command, tmp_path))


def test_a_truncated_buffer_is_named(tripost, config, tmp_path):
    output = tmp_path / "run"
    plan = RunPlan(load_config(config), output)
    problem = load_task("word_sorting").generate("2-3", 1, seed=0)[0]
    row = {"problem_id": problem.id, "task": problem.task, "question": problem.question, "answer": problem.answer}
    ref = write_buffer(plan.problems().uri, "problems-1", [row], about={"in": 1, "kept": 1, "dropped": {}})
    plan.record.problems = ref
    plan.save()
    shard = next(p for p in Path(ref.uri.removeprefix("file://")).iterdir() if p.name != MANIFEST)
    shard.write_bytes(shard.read_bytes()[:-20])
    assert_one_sentence(tripost("show", output, "--stage", "problems"), shard.name)


def test_oracle_exits_1_after_the_last_line_when_one_failed():
    lines = b'{"question": "Q: Sort the following words alphabetically: List: pear apple", "id": 7}\nnot json\n'
    # The lines are bytes, which capsys does not see: a process of its own.
    command = [sys.executable, "-m", "flows.cli", "oracle", "rationale", "--task", "word_sorting"]
    done = subprocess.run(command, input=lines, capture_output=True, cwd=Path(__file__).parents[1], check=False)
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert done.returncode == 1 and first["id"] == 7 and first["answer"] == ["apple", "pear"] and "error" in second


@pytest.mark.parametrize("task", TASKS)
def test_generated_data_passes_its_own_check_and_a_wrong_answer_does_not(tripost, tmp_path, task):
    sizes = ("--num-train", 6, "--num-test-seen", 4, "--num-test-unseen", 2)
    code, out, _ = tripost("data", "generate", "--task", task, "--out", tmp_path, *sizes)
    assert code == 0 and "train.jsonl: 6 questions" in out
    files = (tmp_path / "train.jsonl", tmp_path / "test.jsonl")
    code, out, _ = tripost("data", "check", "--task", task, *files)
    assert code == 0 and "Nothing wrong was found." in out
    code, out, _ = tripost("data", "check", "--task", task, files[0], files[0])
    assert code == 1 and "the same question" in out
    rows = [json.loads(line) for line in files[0].read_text().splitlines()]
    rows[2]["rationale"] = rows[2]["rationale"].rsplit("\n", 1)[0]
    files[0].write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _ = tripost("data", "check", "--task", task, files[0], "--json")
    findings = json.loads(out)["findings"]
    assert code == 1 and findings and all("question 3" in finding for finding in findings)


def test_an_interrupt_says_how_to_go_on(tripost, config, tmp_path, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.in_process.run", interrupted)
    code, _, err = tripost("run", config, "--output", tmp_path / "run")
    assert code == 130 and "goes on" in err


def test_a_full_disk_is_one_sentence(tripost, config, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "somewhere/file")

    monkeypatch.setattr("tripost_core.config_file.load_config", full)
    assert_one_sentence(tripost("run", config), "somewhere/file", "No space left")


def test_the_response_cache_is_shown_and_pruned(tripost, tmp_path, monkeypatch):
    monkeypatch.setenv("TRIPOST_CACHE", str(tmp_path / "answers"))
    assert "No answers" in tripost("cache", "show")[1]
    cache = ResponseCache(tmp_path / "answers")
    answer = Answer("ok", "x")
    cache.put_many([Paid(f"key{i}", "http://there/v1", "wise", "words-1-ab", "run", answer) for i in range(3)])
    cache.close()
    code, out, _ = tripost("cache", "show")
    assert code == 0 and "wise" in out and "words-1-ab" in out and "3 answers" in out
    assert json.loads(tripost("cache", "show", "--json")[1])[0]["answers"] == 3
    assert_one_sentence(tripost("cache", "prune"), "--older-than-days")
    assert "0 answers removed" in tripost("cache", "prune", "--older-than-days", 1)[1]
    assert "3 answers removed" in tripost("cache", "prune", "--prompts", "words-1")[1]
