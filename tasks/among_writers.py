"""Write into MLflow what another may write at the same moment; imports no mlflow."""

from __future__ import annotations

import time
from collections.abc import Callable

_PAUSES_S = (0.05, 0.2, 0.8)


def among_writers(write: Callable[[], object]) -> None:
    """Write a row that MLflow makes where it finds none, such as an alias or a dataset of an experiment.

    MLflow looks for the row and then inserts it, with nothing held between: of two that write the first one, the second
    breaks the unique key, and one that changes a row which is removed meanwhile finds it gone. What the other wrote is
    there when that is said, so that writing again ends well.

    Args:
        write: may be called again after it failed; its result is dropped.

    Raises:
        MlflowException: refused for another reason, or time after time.
    """
    for pause in _PAUSES_S:
        try:
            write()
            return
        except Exception as error:
            # Whatever the database said but "busy"; what MLflow itself finds invalid has codes of its own.
            if getattr(error, "error_code", None) != "BAD_REQUEST":
                raise
            time.sleep(pause)
    write()
