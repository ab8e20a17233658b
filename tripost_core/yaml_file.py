"""YAML files of a user: what is wrong with one is one sentence that names the file and the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from tripost_core.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """Without dates: `2024-10-21` is text, as every setting that looks like it."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse_yaml(text: str) -> Any:
    """Plain data. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=_Loader)


def read_yaml(path: Path, what: str) -> Any:
    """The content of a file, None where it is empty. `what`: e.g. `config file`. Raises ConfigError."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"There is no {what} {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The {what} {path} cannot be read: {error}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"The {what} {path} is not YAML: {' '.join(str(error).split())}.") from None


def validated(model: type[Model], data: Any, source: str) -> Model:
    """Plain data as a model. `source`: what the data is called in an error. Raises ConfigError that names the key."""
    if not isinstance(data, dict):
        raise ConfigError(f"{source} is not a mapping of settings.")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        said = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            known = _fields_at(model, first["loc"][:-1])
            said += f" (known keys: {', '.join(known)})" if known else ""
        raise ConfigError(f"{source}: {where}: {said}.") from None


def _fields_at(model: Any, location: tuple[int | str, ...]) -> list[str]:
    """The keys of the group at `location`; none where that is not a plain group."""
    for part in location:
        field = getattr(model, "model_fields", {}).get(part)
        model = None if field is None else field.annotation
    return list(getattr(model, "model_fields", {}))
