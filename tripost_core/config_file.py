"""A configuration from YAML and `--set`; what is wrong with it is one sentence that names the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tripost_core.config import RunConfig
from tripost_core.errors import ConfigError
from tripost_core.problems.own_spec import is_task_file


def parse_config(data: Any, source: str = "the configuration") -> RunConfig:
    """Plain data to a RunConfig. Raises ConfigError that names the key."""
    if not isinstance(data, dict):
        raise ConfigError(f"{source} is not a mapping of settings.")
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        known = ""
        if first["type"] == "extra_forbidden":
            known = f" (known keys: {', '.join(_fields_at(first['loc'][:-1]))})"
        raise ConfigError(f"{source}: {where}: {first['msg']}{known}.") from None


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    model: Any = RunConfig
    for part in location:
        model = model.model_fields[part].annotation
    return list(model.model_fields)


def load_config(path: Path, overrides: list[str] | None = None) -> RunConfig:
    """A YAML file and `key.sub=value` overrides (values are YAML). Raises ConfigError."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"There is no config file {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The config file {path} cannot be read: {error}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"The config file {path} is not YAML: {' '.join(str(error).split())}.") from None
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
        value = yaml.safe_load(text)
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
