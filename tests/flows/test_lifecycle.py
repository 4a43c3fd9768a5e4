"""What the whole job refuses before it starts."""

from __future__ import annotations

import pytest

from flows.check import check
from flows.home import Home
from flows.lifecycle import main_job
from pt_core.errors import ConfigError


def test_a_training_on_several_nodes_is_no_part_of_a_whole_job() -> None:
    parallel = {"strategy": "ddp", "nodes": 2, "rendezvous_endpoint": "one:29400"}
    checked = check("digits", tuple(f"train.parallel.{name}={value}" for name, value in parallel.items()))
    with pytest.raises(ConfigError, match=r"nodes: 2; .*train on each node, then pt-pipeline run --from"):
        main_job(checked, Home(root="/nowhere"))
