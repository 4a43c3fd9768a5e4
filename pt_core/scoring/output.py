"""What is under the output's name: nothing yet, the answers already, or something else that is not written over."""

from __future__ import annotations

import csv
import itertools
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, NoReturn

from pt_core.errors import ConfigError, DataError
from pt_core.scoring.journal import Identity, Journal
from pt_core.scoring.parts import Stamp, assemble, bad_lines, published, read_stamp
from pt_core.scoring.requests import ScoreRequest
from pt_core.scoring.source import Block

_MAX_LISTED = 100


def bad_rows_path(output: Path) -> Path:
    """Return the side file for the rows that cannot be scored."""
    return output.with_name(f"{output.stem}.bad-rows.csv")


def check_output(request: ScoreRequest, identity: Identity) -> Stamp | None:
    """Return what the output says about itself where it is what is asked for; ``None`` where it is to be written.

    Raises:
        ConfigError: something else is there and is not to be replaced.
    """
    output = Path(request.output)
    if not output.exists():
        return None
    found_stamp = read_stamp(output)
    is_same = found_stamp is not None and found_stamp.identity == identity.content_digest()
    if found_stamp and is_same and (request.bad_rows == "skip" or not found_stamp.num_bad_rows):
        # Its own answers are written again where the list of what they leave out is gone.
        is_whole = not found_stamp.num_bad_rows or bad_rows_path(output).exists()
        return found_stamp if is_whole else None
    if not request.overwrite:
        raise ConfigError(
            f"{output}: exists and holds something else than these answers; name another output, or replace it by "
            "--overwrite, or the field overwrite"
        )
    return None


def publish(request: ScoreRequest, journal: Journal) -> Stamp:
    """Write the output, and the side file where rows were skipped.

    Raises:
        DataError: not one row could be scored.
    """
    output, side = Path(request.output), bad_rows_path(Path(request.output))
    if journal.num_bad_rows:
        listed = _list_bad(side, journal, ())
    else:
        side.unlink(missing_ok=True)
    if not journal.num_rows:
        why = f"none of its {listed.num_bad} rows can be scored" if journal.num_bad_rows else "holds no rows"
        raise DataError(f"{request.source}: {why}", details=listed.lines if journal.num_bad_rows else ())
    stamp = Stamp(
        identity=journal.identity.content_digest(),
        bundle_digest=request.artifact.digest,
        num_rows=journal.num_rows,
        num_bad_rows=journal.num_bad_rows,
    )
    assemble(output, [journal.scores(number) for number in range(len(journal.parts))], stamp)
    return stamp


def refuse(request: ScoreRequest, journal: Journal, rest: Iterable[Block]) -> NoReturn:
    """Check the rows that were not scored, and list all that cannot be; what the network makes of those is not asked.

    Raises:
        DataError: always; what was scored is kept for a call that skips.
    """
    side = bad_rows_path(Path(request.output))
    listed = _list_bad(side, journal, rest)
    raise DataError(
        f"{request.source}: {listed.num_bad:,} of {listed.num_rows:,} rows cannot be scored; mend them, or leave them "
        f"out by --bad-rows skip, or the field bad_rows; all of them are in {side}",
        details=listed.lines,
    )


class _Listed(NamedTuple):
    num_bad: int
    num_rows: int
    lines: list[str]


def _list_bad(side: Path, journal: Journal, rest: Iterable[Block]) -> _Listed:
    """Write the side file, from the journal and from blocks that are in no part; return the first of what is in it."""
    num_bad, num_rows = journal.num_bad_rows, journal.num_done
    with published(side) as partial, partial.open("wb") as stream:
        stream.write(b"input,row,reason\r\n")
        for number in range(len(journal.parts)):
            with journal.bad(number).open("rb") as lines:
                shutil.copyfileobj(lines, stream)
        for block in rest:
            stream.write(bad_lines(block.bad).encode())
            num_bad, num_rows = num_bad + len(block.bad), num_rows + len(block.good)
    with side.open(newline="", encoding="utf-8") as text:
        rows = itertools.islice(csv.reader(text), 1, _MAX_LISTED + 1)
        return _Listed(num_bad, num_rows, [f"{name} row {row}: {reason}" for name, row, reason in rows])
