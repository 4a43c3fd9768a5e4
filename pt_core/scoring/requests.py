"""What scoring is asked and answers, apart from the code so that asking imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from pt_core.artifacts.artifact import Artifact
from pt_core.errors import ConfigError
from pt_core.record import Record

BadRowPolicy = Literal["refuse", "skip"]


class ScoreRequest(Record):
    """Score every row of an input with one artifact."""

    artifact: Artifact
    """The artifact, whose bytes are checked again before it is loaded."""
    model: str | None = None
    """What the caller knows it by; the reply repeats it."""
    source: str
    """A folder of images, or a .csv, .parquet or .npy file."""
    output: str
    """The Parquet file to write."""
    bad_rows: BadRowPolicy = "refuse"
    """What to do with rows that cannot be scored: refuse all with their list, or skip them into a side file."""
    id_column: str | None = None
    """Column of a table that names its rows: it is copied to the output and is no input of the network."""
    overwrite: bool = False
    """Whether an output of something else is replaced."""
    part_seconds: float = Field(default=5.0, ge=0)
    """Work that a kill may cost: a part is made durable after so long, at the next block of rows."""


class BadRow(Record):
    """A row that cannot be scored."""

    input: str
    """The file it is in, or the image itself."""
    row: int
    """Its position in that file, from 0, header and blank lines left out."""
    reason: str
    """What was found, and what was expected."""


class Scores(Record):
    """What was written."""

    output: str
    """The Parquet file."""
    bad_rows_file: str | None
    """CSV file of the rows that were skipped; ``None`` if there were none."""
    model: str
    """What answered: a registered version, or a folder."""
    bundle_digest: str
    """Digest of its artifact, also in each row."""
    format: str
    """Its format."""
    labels: tuple[str, ...]
    """Name of each class; the output has a column ``probability_NAME`` for each."""
    num_rows: int
    """Rows in the output."""
    num_bad_rows: int
    """Rows that were skipped."""
    num_resumed_rows: int
    """Rows of the input that an earlier, interrupted call had finished."""
    seconds: float
    """What this call took, without starting its process."""
    rows_per_second: float | None
    """Rows of the input that this call went through, in a second; undefined where it had nothing left to do."""


def check_paths(source: Path, output: Path) -> None:
    """Refuse what can be refused before anything is opened.

    Raises:
        ConfigError: there is no input, or the output is no name for a Parquet file, or is in the input.
    """
    if not source.exists():
        raise ConfigError(f"{source}: no such file or folder")
    if output.suffix != ".parquet" or output.is_dir():
        found = "it is a folder" if output.is_dir() else f"found {output.suffix or 'no suffix'}"
        raise ConfigError(f"{output}: expected the name of a .parquet file to write; {found}")
    if output.absolute().is_relative_to(source.absolute()):
        raise ConfigError(f"{output}: is the input, or inside it; name another output")
