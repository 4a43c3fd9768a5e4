"""Record: the small frozen value that every stage takes and returns."""

from __future__ import annotations

import hashlib
import json
from typing import Self

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen value of paths, digests and numbers; undefined is ``None``, never NaN."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        """Refuse a field that makes ``dict(record)`` fail, which Prefect calls on every parameter.

        Raises:
            TypeError: a field is called keys, by which ``dict`` takes the record for a mapping.
        """
        if "keys" in cls.model_fields:
            raise TypeError(
                f"{cls.__name__}.keys: dict() would take the record for a mapping; rename the field"
            )

    def to_json(self) -> str:
        """Return canonical JSON: sorted keys, no spaces, so that equal records have equal bytes."""
        return json.dumps(
            self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False
        )

    def content_digest(self) -> str:
        """Return the SHA-256 (64 hex digits) of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Validate JSON into a record.

        Raises:
            pydantic.ValidationError: if the text is not valid for this record.
        """
        return cls.model_validate_json(text)
