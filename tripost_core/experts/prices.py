"""What a call costs: prices by model in US dollars for a million tokens (prices.yaml and a file of the user)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tripost_core.errors import ConfigError
from tripost_core.yaml_file import parse_yaml

SHIPPED = Path(__file__).with_name("prices.yaml")
BATCH_DISCOUNT = 0.5


class Price(BaseModel):
    """USD for a million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(ge=0)
    output: float = Field(ge=0)

    def cost_usd(self, prompt_tokens: int, completion_tokens: int, batch: bool = False) -> float:
        full = (prompt_tokens * self.input + completion_tokens * self.output) / 1e6
        return full * BATCH_DISCOUNT if batch else full


_PRICES = TypeAdapter(dict[str, Price])


def price_of(model: str, prices_file: str | None = None) -> Price | None:
    """The price of a model, of the user's file first, or None. Raises ConfigError for a file that is not one.

    A dated name (`gpt-4o-2024-08-06`) has the price of the name it begins with.
    """
    known = {**_read(SHIPPED), **(_read(Path(prices_file)) if prices_file else {})}
    if model in known:
        return known[model]
    stems = [name for name in known if model.startswith(f"{name}-20")]
    return known[max(stems, key=len)] if stems else None


@cache
def _read(path: Path) -> dict[str, Price]:
    try:
        return _PRICES.validate_python(parse_yaml(path.read_text(encoding="utf-8")) or {})
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"There is no price file {path}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"The price file {path} is not YAML: {' '.join(str(error).split())}.") from None
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "the whole"
        raise ConfigError(
            f"The price file {path}: {where}: {error.errors()[0]['msg']}; "
            "a line reads `model: {input: 1.0, output: 2.0}`."
        ) from None
