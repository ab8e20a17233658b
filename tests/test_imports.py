"""Arrows point one way: flows -> tasks -> tripost_core. And what has to start fast imports nothing heavy.

Each package is imported whole in a process of its own that refuses what it must not import; a look at the source
finds the imports inside functions too.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

IMPORT_ALL = """
import importlib, pkgutil, sys

forbidden = set(sys.argv[2].split(","))

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in forbidden:
            raise AssertionError(f"{name} must not be imported here")

sys.meta_path.insert(0, Refuse())
package = importlib.import_module(sys.argv[1])
names = [package.__name__]
if hasattr(package, "__path__"):
    names += [module.name for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    importlib.import_module(name)
assert not forbidden & set(sys.modules)
print(len(names))
"""


def import_all(package, *forbidden):
    """Imports every module of a package where `forbidden` cannot be imported; how many there are."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, package, ",".join(forbidden)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


def imported_names(path):
    """Every name that a file imports anywhere, `from tasks import x` as `tasks`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("tripost_core", {"prefect", "flows", "tasks"}), ("tasks", {"flows"})],
)
def test_no_source_file_points_the_wrong_way(package, forbidden):
    files = sorted((ROOT / package).rglob("*.py"))
    assert len(files) > 5
    wrong = {
        (str(path.relative_to(ROOT)), name)
        for path in files
        for name in imported_names(path)
        if name.split(".")[0] in forbidden
    }
    assert wrong == set()


def test_the_library_works_where_there_is_no_prefect():
    assert import_all("tripost_core", "prefect", "flows", "tasks") > 30


def test_tasks_do_not_know_the_flows_and_start_without_torch():
    assert import_all("tasks", "flows", "torch", "transformers") > 5


def test_flows_and_command_line_start_without_torch():
    assert import_all("flows", "torch", "transformers", "matplotlib") > 3


@pytest.mark.parametrize(
    "module",
    [
        "tripost_core.oracle",
        "tripost_core.experts.scripted.word_sorting",
        "tripost_core.experts.scripted.multistep_arithmetic",
        "tripost_core.experts.scripted.date_understanding",
        "tripost_core.experts.scripted.logical_deduction",
    ],
)
def test_the_oracle_needs_the_standard_library_alone(module):
    heavy = ("torch", "transformers", "prefect", "pyarrow", "polars", "pydantic", "numpy", "yaml")
    assert import_all(module, *heavy) == 1


@pytest.mark.parametrize("module", ["tripost_core.config", "tripost_core.plan", "tripost_core.stages.feedback"])
def test_configuration_and_plan_do_not_import_torch(module):
    assert import_all(module, "torch", "transformers", "prefect", "matplotlib") == 1


def test_the_refusal_works():
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, "tripost_core.config", "yaml"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 1 and "yaml must not be imported here" in done.stderr
