"""A configuration from YAML and `--set`; what is wrong with it is one sentence that names the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tripost_core.config import RunConfig
from tripost_core.errors import ConfigError
from tripost_core.problems.own_spec import is_task_file
from tripost_core.yaml_file import parse_yaml, read_yaml, validated


def parse_config(data: Any, source: str = "the configuration") -> RunConfig:
    """Plain data to a RunConfig. Raises ConfigError that names the key."""
    return validated(RunConfig, data, source)


def load_config(path: Path, overrides: list[str] | None = None) -> RunConfig:
    """A YAML file and `key.sub=value` overrides (values are YAML). Raises ConfigError."""
    data = read_yaml(path, "config file")
    data = {} if data is None else data
    for override in overrides or []:
        data = _override(data, override)
    return parse_config(_beside(data, path.absolute().parent), str(path))


def _beside(data: Any, directory: Path) -> Any:
    """A task file is looked for beside the config file, then in the working directory."""
    task = data.get("task") if isinstance(data, dict) else None
    if isinstance(task, str) and is_task_file(task) and (directory / task).exists():
        return {**data, "task": str(directory / task)}
    return data


def _override(data: Any, override: str) -> Any:
    dotted, equals, text = override.partition("=")
    if not equals or not dotted or not isinstance(data, dict):
        raise ConfigError(f"--set takes key.sub=value, not {override!r}.")
    try:
        value = parse_yaml(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {dotted}: {text!r} is not a YAML value.") from None
    result = dict(data)
    at = result
    *parents, last = dotted.split(".")
    for part in parents:
        below = at.get(part) or {}
        if not isinstance(below, dict):
            raise ConfigError(f"--set {dotted}: {part} is a value, not a group of settings.")
        at[part] = dict(below)
        at = at[part]
    at[last] = value
    return result
