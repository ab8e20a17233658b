"""The commands that need no Prefect: pretrain, evaluate, solve, oracle, data, show, report.

Everything heavy is imported inside the command that needs it, so that `--help` and `oracle` start at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from tripost_core.errors import ConfigError
from tripost_core.problems import TASKS

if TYPE_CHECKING:
    pass

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
data_app = typer.Typer(no_args_is_help=True, help="Make questions, or check a file of your own.")
app.add_typer(data_app, name="data")
cache_app = typer.Typer(no_args_is_help=True, help="The answers of expert models that were paid for, shared by runs.")
app.add_typer(cache_app, name="cache")

TaskOption = Annotated[str, typer.Option("--task", help=f"{', '.join(TASKS)}, or a task file (.yaml)")]
MODEL_HELP = "a built-in student, a model directory, a hub name, or a run's directory (or RUN/ENTRY)"
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]


@app.command()
def oracle(
    mode: Annotated[str, typer.Argument(help="rationale, feedback or improve")],
    task: TaskOption,
) -> None:
    """The scripted expert as a filter: JSON lines on standard input, JSON lines on standard output.

    Example: echo '{"question": "((1 + 2 * 3) - (4 - 5 - 6)) ="}' | tripost oracle rationale --task multistep_arithmetic
    """
    from tripost_core.oracle import oracle_lines

    lines = (line.decode("utf-8", "surrogateescape") for line in sys.stdin.buffer)
    failed = 0
    for text, ok in oracle_lines(mode, task, lines):
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
        failed += not ok
    sys.stdout.flush()
    if failed:
        print(f"tripost: {failed} of the lines could not be handled; each has an `error`.", file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def pretrain(
    out: Annotated[Path, typer.Option("--out", help="directory of the new student; must not hold one yet")],
    preset: Annotated[
        str,
        typer.Option(help="tiny (two hours on 2 cores), small (a GPU), arithmetic-checks, word-checks, debug"),
    ] = "tiny",
    seed: Annotated[int, typer.Option(help="of weights and documents")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; otherwise a GPU where there is one")] = None,
) -> None:
    """Train a small Llama from scratch on scripted rationales and judgements of single steps.

    Example: tripost pretrain --preset debug --out runs/my-student
    """
    from tripost_core.lm.pretrain import pretrain as run_pretrain
    from tripost_core.progress import ProgressDisplay

    with ProgressDisplay() as display:

        def progress(event: dict[str, object]) -> None:
            display.line("  ".join(f"{key} {_short(value)}" for key, value in event.items()))

        result = run_pretrain(preset, out, seed, progress, device=device)
    shares = ", ".join(f"{name} {share:.3f}" for name, share in result.gold_match.items())
    task = next(iter(result.gold_match)).partition("/")[0]
    print(f"{result.steps:,} steps, {result.tokens:,} tokens, {result.seconds / 60:.1f} min.")
    print(f"Word for word like gold: {shares}.")
    print(f"The student is in {out}. Next: tripost evaluate --model {quote(str(out))} --task {task}")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@app.command()
def evaluate(
    task: Annotated[
        str | None, typer.Option(help=f"{', '.join(TASKS)}, or a task file (.yaml); with --expert that of its config")
    ] = None,
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    expert: Annotated[
        Path | None, typer.Option(help="instead of a model: a run config whose expert model is prompted, not trained")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="BIG-bench JSON, BIG-Bench Hard JSON or JSONL; empty = generated")
    ] = None,
    num_seen: Annotated[int, typer.Option(min=0, help="generated questions of seen subtasks")] = 120,
    num_unseen: Annotated[int, typer.Option(min=0, help="generated questions of unseen subtasks")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="of the generated questions")] = 0,
    max_improvements: Annotated[int, typer.Option(min=0, help="of one answer; 0 = first attempts alone")] = 3,
    max_new_tokens: Annotated[int, typer.Option(min=8, help="of one answer with its improvements")] = 1024,
    skills: Annotated[
        bool,
        typer.Option("--skills", help="also its judging and repairing, each forced and compared with the script"),
    ] = False,
    checks: Annotated[
        bool, typer.Option("--checks", help="with --skills: the feedback it is told works its checks out")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Accuracy by subtask, SI.Freq, SI.Contrib, repaired and harm of a model, by greedy decoding.

    With --expert: few-shot chain of thought (column first) and then its own feedback and improvements (accuracy), of
    any model behind an endpoint.

    Example: tripost evaluate --model tiny --task word_sorting --num-seen 60
    """
    from tripost_core.problems import load_task
    from tripost_core.problems.splits import make_splits
    from tripost_core.progress import ProgressDisplay
    from tripost_core.show_model import print_metrics, print_skills

    if (model is None) == (expert is None):
        raise ConfigError("`tripost evaluate` needs either --model or --expert.")
    if skills and model is None:
        raise ConfigError("--skills measures a model that is loaded here, so it goes with --model.")
    from tripost_core.config_file import load_config, parse_config

    sizes = {"num_train": 1, "num_test_seen": num_seen, "num_test_unseen": num_unseen}
    if task is not None:
        load_task(task)
        config = parse_config({"task": task, "data": sizes}, "the command line")
    elif expert is not None:
        config = load_config(expert, [f"data.{name}={size}" for name, size in sizes.items()])
    else:
        raise ConfigError("`tripost evaluate --model` needs --task.")
    reference = config.task_reference
    the_task = load_task(reference)
    if data is not None:
        problems = the_task.load(data, "test")
    else:
        problems = [p for p in make_splits(the_task, config.data, seed).problems if p.split == "test"]
    from tripost_core.evaluation import answered, forced, prompted
    from tripost_core.metrics import evaluate_rows

    with ProgressDisplay() as display:

        def progress(what: str, done: int, total: int) -> None:
            display.advanced("evaluate", what, done, total)

        if expert is not None:
            rows = prompted(expert, reference, problems, max_improvements, progress)
        else:
            assert model is not None
            rows = answered(model, reference, problems, max_new_tokens, max_improvements, progress)
        skilled = forced(model, reference, problems, rows, max_new_tokens, checks) if skills and model else {}
    result = evaluate_rows(rows)
    num_truncated = sum(row["truncated"] for row in rows)
    if as_json:
        about = {"model": model or str(expert), "task": task or config.task_name, "eval": result}
        about["num_truncated"] = num_truncated
        print(json.dumps({**about, **({"skills": skilled} if skills else {})}, indent=1))
    else:
        print_metrics(result)
        if num_truncated:
            limit = f"--max-new-tokens {max_new_tokens} or its context" if model else "its length limit"
            print(f"{num_truncated:,} of {len(rows):,} answers were cut off ({limit}) and count as wrong.")
        if skills:
            print_skills(skilled)


@app.command()
def solve(
    question: Annotated[str, typer.Argument(help="a question of the task")],
    model: Annotated[str, typer.Option(help=MODEL_HELP)],
    task: TaskOption,
    temperature: Annotated[float, typer.Option(min=0, help="0 = greedy")] = 0.0,
    max_improvements: Annotated[int, typer.Option(min=0)] = 3,
    seed: Annotated[int, typer.Option(help="of the sampling")] = 0,
) -> None:
    """Watch a model attempt a question, criticise its attempt and improve it.

    Example: tripost solve --model tiny --task multistep_arithmetic "((1 + 2 * 3) - (4 - 5 - 6)) ="
    """
    from tripost_core.lm.student import load_student
    from tripost_core.problems import load_task
    from tripost_core.show_model import print_solution

    the_task = load_task(task)
    problem = the_task.parse_question(question)
    print_solution(load_student(model), the_task, problem, temperature, max_improvements, seed)


@data_app.command("generate")
def data_generate(
    task: TaskOption,
    out: Annotated[Path, typer.Option("--out", help="directory for train.jsonl, validation.jsonl and test.jsonl")],
    preset: Annotated[str | None, typer.Option(help="`paper`: the paper's split sizes")] = None,
    num_train: Annotated[int, typer.Option(min=1)] = 550,
    num_test_seen: Annotated[int, typer.Option(min=0)] = 120,
    num_test_unseen: Annotated[int, typer.Option(min=0)] = 240,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Make questions with answers and scripted rationales, no question in two splits.

    Example: tripost data generate --task word_sorting --preset paper --out runs/words
    """
    from tripost_core.config_file import parse_config
    from tripost_core.data_files import write_splits

    sizes = {"num_train": num_train, "num_test_seen": num_test_seen, "num_test_unseen": num_test_unseen}
    config = parse_config({"task": task, "seed": seed, "data": {"preset": preset, **sizes}}, "the command line")
    for path, num_rows in write_splits(config, out):
        print(f"{path}: {num_rows} questions")
    files = " ".join(quote(str(out / name)) for name in ("train.jsonl", "test.jsonl"))
    print(f"Next: tripost data check --task {task} {files}")


@data_app.command("check")
def data_check(
    task: TaskOption,
    files: Annotated[
        list[Path] | None, typer.Argument(help="one file, or splits of one data set; empty = those of the task file")
    ] = None,
    model: Annotated[str, typer.Option(help="whose context the prompts must fit")] = "tiny",
    as_json: JsonOption = False,
) -> None:
    """Check a data file against itself: every gold answer and rationale must pass its own grader, no question twice
    (also across the files), prompts and rationales fit the model's context. Exit code 1 where something is wrong.

    Example: tripost data check --task my-task/task.yaml
    """
    from tripost_core.data_files import check_files

    result = check_files(task, files or [], model)
    if as_json:
        print(json.dumps(result.as_dict(), indent=1, ensure_ascii=False))
    else:
        for line in result.lines():
            print(line)
    if result.findings:
        raise typer.Exit(1)


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(help="for task.yaml and run.yaml; made where it does not exist")],
    data: Annotated[
        Path | None, typer.Option(help="your questions (JSONL); its first line fills in the fields")
    ] = None,
) -> None:
    """Begin a task of your own: a commented task file and a commented run config.

    Example: tripost init my-task --data questions.jsonl
    """
    from tripost_core.starter import write_starter

    task, run = write_starter(directory, data)
    print(f"Wrote {task} and {run}; read them through, they are short.")
    print(f"Next: tripost data check --task {quote(str(task))}")
    print(f"then: tripost run {quote(str(run))}")


@app.command()
def show(
    run: Annotated[Path, typer.Argument(help="a run's directory, e.g. runs/word_sorting")],
    stage: Annotated[str | None, typer.Option(help="print rows of this stage's buffer, e.g. tripost-1/filter")] = None,
    trajectories: Annotated[int, typer.Option(min=0, help="print so many edited trajectories")] = 0,
    status: Annotated[str | None, typer.Option(help="correct or discarded")] = None,
    error_class: Annotated[str | None, typer.Option(help="e.g. calculation")] = None,
    iteration: Annotated[int | None, typer.Option(min=1)] = None,
    limit: Annotated[int, typer.Option(min=1, help="rows to print of a buffer")] = 10,
    as_json: JsonOption = False,
) -> None:
    """A run on the terminal: its scores, its stages, rows of a buffer, trajectories with their first error marked.

    Example: tripost show runs/word_sorting --trajectories 3 --iteration 1
    """
    from tripost_core.show import show as show_run

    show_run(
        run,
        stage=stage,
        trajectories=trajectories,
        status=status,
        error_class=error_class,
        iteration=iteration,
        limit=limit,
        as_json=as_json,
    )


@app.command()
def report(run: Annotated[Path, typer.Argument(help="a run's directory, e.g. runs/word_sorting")]) -> None:
    """Write report.html and report.json of a run again, from its buffers.

    Example: tripost report runs/word_sorting
    """
    from tripost_core.record import read_record
    from tripost_core.report import write_report

    record = read_record(run)
    if record is None:
        raise ConfigError(f"{run} holds no run: there is no run.json in it.")
    write_report(record, run)
    print(f"Open {run / 'report.html'} in a browser; the numbers are in {run / 'report.json'}.")


@app.command()
def join(
    work_dir: Annotated[Path, typer.Argument(help="as the machine that began the training has said it")],
) -> None:
    """Take part in a training on several machines (compute.ranks.nodes) that another one has begun.

    Example: tripost join /shared/runs/word_sorting/stages/.work/train-v1-0123456789abcdef
    """
    from tripost_core.lm.ranks import join as join_training

    raise typer.Exit(join_training(work_dir))


@app.command()
def push(
    run: Annotated[Path, typer.Argument(help="a run's directory, e.g. runs/word_sorting")],
    repository: Annotated[str | None, typer.Option("--to", help="NAMESPACE/NAME at the model hub")] = None,
    entry: Annotated[str | None, typer.Option(help="whose student; empty = the last iteration's")] = None,
    out: Annotated[Path | None, typer.Option(help="write the package here instead of uploading it")] = None,
    private: Annotated[bool, typer.Option(help="a new repository is not public")] = True,
) -> None:
    """A run's student with a model card of its numbers, to a model hub (your login, HF_TOKEN) or into a directory.

    Example: tripost push runs/word_sorting --to my-name/word-sorter
    """
    import tempfile

    from tripost_core.publish import push as upload
    from tripost_core.publish import write_package
    from tripost_core.record import read_record
    from tripost_core.report.numbers import relocated

    if (repository is None) == (out is None):
        raise ConfigError("`tripost push` needs either --to, a repository, or --out, a directory.")
    record = read_record(run)
    if record is None:
        raise ConfigError(f"{run} holds no run: there is no run.json in it.")
    chosen = relocated(record, run).student_entry(entry)
    if out is not None:
        print(f"{chosen.name} with its model card is in {write_package(record, run, chosen, out)}.")
        return
    assert repository is not None
    with tempfile.TemporaryDirectory() as directory:
        package = write_package(record, run, chosen, Path(directory) / "student")
        print(f"{chosen.name} is at {upload(package, repository, private)}.")


@cache_app.command("show")
def cache_show(as_json: JsonOption = False) -> None:
    """Which answers the response cache holds: by endpoint, model and prompt version, with tokens and cost.

    Example: tripost cache show
    """
    from tripost_core.experts.asking import cache_directory
    from tripost_core.experts.response_cache import ResponseCache
    from tripost_core.show import print_cache

    cache = ResponseCache(cache_directory())
    rows = cache.summary()
    cache.close()
    print(json.dumps(rows)) if as_json else print_cache(rows, cache.path)


@cache_app.command("prune")
def cache_prune(
    older_than_days: Annotated[float | None, typer.Option(min=0, help="answers at least so old")] = None,
    model: Annotated[str | None, typer.Option(help="answers of this model")] = None,
    prompts: Annotated[str | None, typer.Option(help="answers to this prompt version, or the beginning of it")] = None,
    everything: Annotated[bool, typer.Option("--all", help="every answer")] = False,
) -> None:
    """Remove answers from the response cache. What is removed has to be paid for again.

    Example: tripost cache prune --prompts word_sorting-1 --older-than-days 30
    """
    import time

    from tripost_core.experts.asking import cache_directory
    from tripost_core.experts.response_cache import ResponseCache

    if not everything and older_than_days is None and model is None and prompts is None:
        raise ConfigError("`tripost cache prune` needs to know what: --older-than-days, --model, --prompts, or --all.")
    cache = ResponseCache(cache_directory())
    older_than = None if older_than_days is None else time.time() - 86400 * older_than_days
    print(f"{cache.prune(older_than, model, prompts)} answers removed from {cache.path}")
    cache.close()
