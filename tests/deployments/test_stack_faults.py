"""What happens around a stack: closed terminals, clocks that are set, files that vanish, foreign files, odd folders."""

from __future__ import annotations

import base64
import configparser
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from servers import free_port
from stacks import naps, pt_pipeline

from deployments.stack import down as downing
from deployments.stack.credentials import ensure_webhook_secret
from deployments.stack.options import StackOptions
from deployments.stack.prefect_file import check_prefect_file
from deployments.stack.processes import identify
from deployments.stack.settings import gather
from deployments.stack.state_file import try_lock, write_state
from flows.home import Home
from flows.stack_state import ProcessId, StackState, client_environment, running_stack
from pt_core.errors import ConfigError, StepFailed

SPEAKS = """
import pathlib, sys
from deployments.stack.screen import Screen
sys.stdin.read()
screen = Screen()
with screen.waiting("x"):
    screen.started("prefect", "http://p:1", 1.0)
screen.warn("one")
screen.log("prefect", ["a line"])
screen.say("stopping")
pathlib.Path(sys.argv[1]).write_text("stopped in order")
"""


def test_a_screen_that_nobody_reads_any_more_keeps_nothing_from_being_stopped(tmp_path):
    done = tmp_path / "done"
    speaker = subprocess.Popen(
        [sys.executable, "-c", SPEAKS, str(done)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    for stream in (speaker.stdout, speaker.stderr, speaker.stdin):
        stream.close()

    assert speaker.wait(30) == 0
    assert done.read_text() == "stopped in order"


def state_of(supervisor: ProcessId) -> StackState:
    return StackState(token="t", supervisor=supervisor, prefect_url="http://p:1", mlflow_url="http://m:2")


def test_a_stack_lives_whatever_the_clock_is_set_to(tmp_path):
    us = identify(os.getpid())
    (tmp_path / "stack").mkdir(mode=0o700)

    write_state(state_of(us.model_copy(update={"started": us.started - 3600})), tmp_path)
    assert running_stack(tmp_path) is not None
    write_state(state_of(us.model_copy(update={"mark": f"{us.mark}0"})), tmp_path)
    assert running_stack(tmp_path) is None


STARTS_SLOWLY = """
import os, pathlib, signal, sys, time
from deployments.stack.prefect_file import check_prefect_file
from deployments.stack.processes import identify
from deployments.stack.settings import gather
from deployments.stack.state_file import only_stack, write_state
from flows.stack_state import StackState
home = pathlib.Path(sys.argv[1])
with only_stack(home):
    print("holds the home", flush=True)
    time.sleep(4)
    us = identify(os.getpid())
    write_state(StackState(token="t", supervisor=us, prefect_url="http://p:1", mlflow_url="http://m:2"), home)
    time.sleep(600)
"""


def test_down_waits_for_a_stack_that_is_just_starting_and_ends_it(tmp_path):
    starting = subprocess.Popen(
        [sys.executable, "-c", STARTS_SLOWLY, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with starting:
        assert starting.stdout.readline()

        ended = pt_pipeline("down", "--home", str(tmp_path))
        code = starting.poll()
        starting.kill()

    assert "is down" in ended.stderr, ended
    assert code == -signal.SIGTERM


def test_down_says_nothing_of_the_kind_while_the_home_is_held(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(downing, "PATIENCE_S", 0.3)
    with try_lock(tmp_path):
        write_state(state_of(ProcessId(pid=os.getpid(), started=0.0)), tmp_path)

        with pytest.raises(StepFailed, match="has not ended"):
            downing.down(Home(root=str(tmp_path)))

    assert "is down" not in capfd.readouterr().err


def test_ctrl_c_on_a_waiting_detached_start_ends_the_start(tmp_path):
    home = tmp_path / "home"
    ports = [f"--{name}-port={free_port()}" for name in ("prefect", "mlflow")]
    waiting = subprocess.Popen(
        [sys.executable, "-m", "deployments", "up", "--detach", "--no-webhook", "--home", str(home), *ports],
        start_new_session=True,
        # A shell starts what it runs in the background with this signal ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while running_stack(home) is None:
        time.sleep(0.1)
    supervisor = running_stack(home).supervisor

    waiting.send_signal(signal.SIGINT)

    assert waiting.wait(60) != 0
    assert not supervisor.is_alive()
    with try_lock(home) as is_free:
        assert is_free


@pytest.mark.parametrize("place", ["stack", "stack/stack.json"])
def test_a_state_that_others_can_write_is_not_obeyed(tmp_path, place):
    (tmp_path / "stack").mkdir(mode=0o700)
    write_state(state_of(identify(os.getpid())), tmp_path)
    (tmp_path / place).chmod(0o777)

    with pytest.raises(ConfigError, match="other users can change it"):
        running_stack(tmp_path)


def test_a_state_of_another_user_is_not_obeyed(tmp_path, monkeypatch):
    (tmp_path / "stack").mkdir(mode=0o700)
    write_state(state_of(identify(os.getpid())), tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)

    with pytest.raises(ConfigError, match="belongs to another user"):
        running_stack(tmp_path)


def test_a_password_that_is_gone_is_a_line_with_what_to_do(tmp_path):
    state = state_of(identify(os.getpid())).model_copy(update={"auth": True})

    with pytest.raises(ConfigError, match=r"secrets/mlflow.*start the stack again"):
        client_environment(state, tmp_path)


def test_a_home_is_made_for_its_owner_alone(tmp_path):
    pt_pipeline("status", "--home", str(tmp_path / "home"))

    assert Path(tmp_path / "home").stat().st_mode & 0o777 == 0o700


def test_a_webhook_secret_is_made_for_every_provider_and_another_in_the_environment_is_refused(
    tmp_path, monkeypatch
):
    monkeypatch.delenv("PT_PIPELINE_WEBHOOK_SECRET", raising=False)

    line = ensure_webhook_secret(tmp_path).read_text().strip()

    assert len(base64.b64decode(line.removeprefix("whsec_"), validate=True)) == 24
    assert line.startswith("whsec_")
    monkeypatch.setenv("PT_PIPELINE_WEBHOOK_SECRET", line)
    assert ensure_webhook_secret(tmp_path).read_text().strip() == line
    monkeypatch.setenv("PT_PIPELINE_WEBHOOK_SECRET", "hunter2hunter2hunter2")
    with pytest.raises(ConfigError, match="which holds another secret or none") as refused:
        ensure_webhook_secret(tmp_path)
    assert "hunter2" not in str(refused.value)


def test_a_percent_sign_in_the_home_reaches_mlflows_accounts_as_it_is(tmp_path):
    home = tmp_path / "50%40home"
    (home / "stack").mkdir(parents=True)
    gather(StackOptions(home=str(home), auth=True, webhook=False))

    accounts = configparser.ConfigParser()
    accounts.read(home / "stack" / "mlflow-auth.ini")

    assert accounts["mlflow"]["database_uri"] == f"sqlite:///{home}/stack/mlflow-auth.db"


@pytest.mark.parametrize("command", ["up", "status", "doctor"])
def test_a_home_whose_path_no_database_address_takes_is_refused_in_a_line(tmp_path, command):
    refused = pt_pipeline(command, "--home", str(tmp_path / "what?"))

    assert refused.returncode == 2
    assert "question mark" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


MISSPELT = """\
deployments:
  - name: nap
    entrypoint: naps.nap
    work_pool: {name: local}
    triggers:
      - {expct: [prefect.flow-run.Completed], match: {prefect.resource.id: prefect.flow-run.*}}
    concurency_limit: 1
"""


def test_a_file_of_deployments_that_prefect_would_misunderstand_starts_nothing(tmp_path):
    naps(tmp_path)
    (tmp_path / "naps.py").write_text("print('imported')\n" + (tmp_path / "naps.py").read_text())
    home, file = tmp_path / "home", tmp_path / "wrong.yaml"
    file.write_text(MISSPELT)
    ports = [f"--{name}-port={free_port()}" for name in ("prefect", "mlflow", "webhook")]

    refused = pt_pipeline("up", "--home", str(home), "--prefect-file", str(file), *ports)

    assert refused.returncode == 2, refused.stderr
    assert f"--prefect-file: {file}" in refused.stderr
    assert "line 7: nap.concurency_limit: unknown key; did you mean concurrency_limit?" in refused.stderr
    assert "did you mean expect?" in refused.stderr
    assert list((home / "stack").glob("*.log")) == []


def test_a_file_of_deployments_that_is_no_yaml_is_one_line(tmp_path):
    (tmp_path / "wrong.yaml").write_text("deployments: [")

    with pytest.raises(ConfigError, match=r"wrong\.yaml:1: not valid YAML"):
        check_prefect_file(tmp_path / "wrong.yaml")


def test_a_good_file_of_deployments_is_let_through(tmp_path):
    check_prefect_file(naps(tmp_path))


WRONG_SETTINGS = {
    "a misspelt provider": (
        "repositories:\n  - {name: team/models, provider: gihub, clone_url: X}",
        "webhook.yaml: repositories[0].provider",
    ),
    "no YAML": ("repositories: [", "webhook.yaml:1: not valid YAML"),
    "a secret that is not there": (
        "repositories:\n  - {name: team/models, provider: github, clone_url: X, secret_file: gone}",
        "/gone: cannot read the webhook secret",
    ),
}


@pytest.mark.parametrize("wrong", WRONG_SETTINGS)
def test_a_mistake_in_the_receivers_settings_is_one_line_before_anything_is_started(tmp_path, wrong):
    content, said = WRONG_SETTINGS[wrong]
    (tmp_path / "webhook.yaml").write_text(content.replace("X", '"https://git.example/models.git"'))
    ports = [f"--{name}-port={free_port()}" for name in ("prefect", "mlflow", "webhook")]

    refused = pt_pipeline("up", "--home", str(tmp_path), *ports)

    assert refused.returncode == 2, refused.stderr
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert list((tmp_path / "stack").glob("*.log")) == []
