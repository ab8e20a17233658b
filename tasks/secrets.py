"""Keys of endpoints, read where a stage runs and handed to the core as values: they are in no request and no result."""

from __future__ import annotations

import os

from prefect.blocks.system import Secret

from tripost_core.config import CallsConfig
from tripost_core.errors import ConfigError
from tripost_core.stages import StageRequest

API_KEY = "api_key"


def secrets_of(request: StageRequest) -> dict[str, str]:
    """`{"api_key": ...}` where the request calls an expert model and its key is known, else nothing.

    Raises ConfigError where the Secret block that the configuration names is not there.
    """
    return secrets_for(CallsConfig.model_validate(request.means["calls"])) if "calls" in request.means else {}


def secrets_for(calls: CallsConfig) -> dict[str, str]:
    """As `secrets_of`, of the way in which an expert model is called."""
    if calls.api_key_block is not None:
        try:
            block = Secret.load(calls.api_key_block)
        except ValueError:
            raise ConfigError(
                f"There is no Prefect Secret block {calls.api_key_block} (calls.api_key_block)."
            ) from None
        return {API_KEY: str(block.get())}
    key = os.environ.get(calls.api_key_env, "")
    return {API_KEY: key} if key else {}
