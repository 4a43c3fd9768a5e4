"""The moment between ``up --detach`` and the process that it starts: the home is held all along."""

from __future__ import annotations

import socket
import sys
import threading
import time

import pytest
import typer

from deployments.stack import down as downing
from deployments.stack.detached import up_detached
from deployments.stack.options import StackOptions
from deployments.stack.state_file import try_lock
from flows.home import Home
from pt_core.errors import ConfigError, StepFailed

PATIENCE_S = 60.0

# Who has read all that it was sent was let go by its parent before.
STARTS_SLOWLY = """#!/bin/sh
cat > '{folder}/options'
touch '{folder}/began'
while [ ! -e '{folder}/go' ]; do sleep 0.05; done
exec '{python}' "$@" < '{folder}/options'
"""


def test_neither_down_nor_another_up_comes_between_a_detached_start_and_its_process(tmp_path, monkeypatch):
    slow, began, home = tmp_path / "python", tmp_path / "began", tmp_path / "home"
    slow.write_text(STARTS_SLOWLY.format(folder=tmp_path, python=sys.executable))
    slow.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(slow))
    monkeypatch.setattr(downing, "PATIENCE_S", 0.3)
    codes = []

    def start(options):
        with pytest.raises(typer.Exit) as ended:
            up_detached(options)
        codes.append(ended.value.exit_code)

    with socket.create_server(("127.0.0.1", 0)) as taken:
        # With a port that is taken the process ends right after it has begun to work.
        options = StackOptions(home=str(home), prefect_port=taken.getsockname()[1])
        starting = threading.Thread(target=start, args=(options,))
        starting.start()
        try:
            end = time.monotonic() + PATIENCE_S
            while not began.exists() and time.monotonic() < end:
                time.sleep(0.05)

            with pytest.raises(StepFailed, match="has not ended"):
                downing.down(Home(root=str(home)))
            with pytest.raises(ConfigError, match="just starting"):
                up_detached(options)
        finally:
            (tmp_path / "go").touch()
            starting.join(PATIENCE_S)

    assert codes == [2]
    with try_lock(home) as is_free:
        assert is_free
