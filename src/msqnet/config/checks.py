"""How settings are refused."""

from __future__ import annotations

from msqnet.errors import ConfigError


def check(condition: bool, message: str) -> None:
    """Refuse a value.

    Raises:
        ConfigError: with the message, unless the condition holds.
    """
    if not condition:
        raise ConfigError(message)
