"""How much a request to a server may ask for."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from components.errors import BadInput

VARIABLE = "DP2O_SERVE_"
"""Start of the variables that override limits: DP2O_SERVE_MAX_ROWS and so on."""

BESIDE_A_PICTURE = 2**16
"""Bytes of a row that are not its picture's: its prompt, the names of columns."""


@dataclass(frozen=True)
class ServingLimits:
    """Of one served model.

    Attributes:
        max_rows: pictures a request.
        max_pixels: LR pixels of a request, all its pictures together; the answer has scale² as many.
        max_bytes: bytes of all its picture files.
        seconds_a_picture: processor time of decoding.
        seconds_a_body: in which a body must have arrived, once it is its turn.
        concurrency: requests that are worked on at once.
        waiting: requests that wait for those; more are answered with 429.
    """

    max_rows: int = 16
    max_pixels: int = 4_000_000
    max_bytes: int = 64_000_000
    seconds_a_picture: int = 10
    seconds_a_body: int = 30
    concurrency: int = 1
    waiting: int = 8

    @property
    def max_body(self) -> int:
        """Bytes of a request's body: the pictures' in base64, which is a third longer, and the prompts and JSON."""
        return self.max_bytes * 4 // 3 + BESIDE_A_PICTURE * self.max_rows

    @classmethod
    def of(cls, config: Mapping[str, Any], variables: Mapping[str, str]) -> Self:
        """Those of the model's stored config, where an environment variable does not say otherwise.

        Raises:
            BadInput: a limit is no whole number, or below 1.
        """
        limits: dict[str, int] = {}
        for field in fields(cls):
            name = f"{VARIABLE}{field.name.upper()}"
            value = variables.get(name, config.get(field.name, field.default))
            least = 0 if field.name == "waiting" else 1
            try:
                limits[field.name] = int(value)
            except (TypeError, ValueError):
                limits[field.name] = least - 1
            if limits[field.name] < least:
                raise BadInput(
                    f"{name}, or {field.name} of the model's config, is {value!r}: a whole number from {least}"
                )
        return cls(**limits)
