"""Send entries to a database at once, and again where another process held it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence

from tasks.outbox_entries import Done, Entry, LogFiles
from tasks.outbox_place import Place
from tasks.outbox_refusal import is_locked
from tasks.outbox_send import connect, send

_PAUSES_S = (0.2, 1.0, 3.0)
"""MLflow itself waits 20 s for a database that is locked."""


def send_directly(tracking_uri: str, entries: Sequence[Entry]) -> dict[str, Done]:
    """Send entries; return what became of each.

    Raises:
        MlflowException: MLflow refused one or did not answer; a run that one of the entries created is closed as failed.
        OSError: no connection, or a file cannot be read.
    """
    known: dict[str, Done] = {}
    place = Place(connect(tracking_uri), known)
    try:
        for entry in entries:
            known[entry.id] = _send(place, entry)
    except BaseException:
        # Nobody else knows their ids yet.
        for done in known.values():
            if done.run_id:
                place.client.set_terminated(done.run_id, status="FAILED")
        raise
    finally:
        for entry in entries:
            if isinstance(entry, LogFiles) and entry.is_copy:
                shutil.rmtree(entry.folder, ignore_errors=True)
    return known


def _send(place: Place, entry: Entry) -> Done:
    for number, pause in enumerate(_PAUSES_S):
        try:
            return send(place, entry, again=number > 0)
        except Exception as error:
            if not is_locked(error):
                raise
            time.sleep(pause)
    return send(place, entry, again=True)
