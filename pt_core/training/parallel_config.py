"""ParallelConfig: how one training is spread over processes or devices."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from pt_core.record import Record

Strategy = Literal["none", "dp", "ddp", "model_parallel"]

OPTIONS: dict[Strategy, tuple[str, ...]] = {
    "none": (),
    "dp": (),
    "ddp": ("processes", "nodes", "rendezvous_endpoint", "max_restarts", "find_unused_parameters"),
    "model_parallel": ("split_at", "devices"),
}
"""What each strategy reads; another option that is set is refused."""

EXECUTION_FIELDS = frozenset({"max_restarts", "rendezvous_endpoint"})
"""What may change between an interrupted run and the one that continues it: no step computes anything else."""


class ParallelConfig(Record):
    """How one training is spread over processes or devices.

    A step stays that of batch_size times accumulation_steps samples, in the order of one process. With ddp each
    process takes its part of them, at most batch_size in a forward pass, and batch normalisation sees the samples
    of all.
    """

    strategy: Strategy = "none"
    """ddp: processes that share each step's samples; dp: several GPUs of one process; model_parallel: two stages."""
    processes: int = Field(default=2, ge=1, le=1024)
    """ddp: processes on each node; on GPUs one for each."""
    nodes: int = Field(default=1, ge=1, le=1024)
    """ddp: machines; on each the same command is started, with a store that all see under the same path."""
    rendezvous_endpoint: str | None = Field(default=None, pattern=r"^[^:/\s]+:\d{1,5}$")
    """ddp: host:port of one of the nodes, where they meet, for a trusted network only; null stays in this machine."""
    max_restarts: int = Field(default=0, ge=0, le=100)
    """ddp: how often a lost process makes all start again from the last durable checkpoint."""
    find_unused_parameters: bool = False
    """ddp: for a network that does not use every parameter in every pass; costs a walk over its graph a step."""
    split_at: str | None = None
    """model_parallel: name of the first module of the second stage, as the network's code names it."""
    devices: tuple[str, str] | None = None
    """model_parallel: device of each stage, e.g. [cuda:0, cuda:1]; null takes those, or the CPU for both."""

    @property
    def world_size(self) -> int:
        """How many processes train together."""
        return self.nodes * self.processes if self.strategy == "ddp" else 1

    @model_validator(mode="after")
    def _options_are_of_the_strategy(self) -> Self:
        known = OPTIONS[self.strategy]
        for name, field in type(self).model_fields.items():
            if name == "strategy" or name in known or getattr(self, name) == field.default:
                continue
            owner = next(strategy for strategy, names in OPTIONS.items() if name in names)
            raise ValueError(
                f"{name}: strategy {self.strategy} does not read it; leave it out, or set strategy to {owner}"
            )
        return self

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if self.strategy == "model_parallel" and self.split_at is None:
            raise ValueError(
                "split_at: model_parallel needs the name of the module that its second stage begins with"
            )
        if self.nodes > 1 and self.rendezvous_endpoint is None:
            raise ValueError(
                f"rendezvous_endpoint: {self.nodes} nodes need host:port of one of them to meet at"
            )
        if self.nodes == 1 and self.rendezvous_endpoint is not None:
            raise ValueError(
                "rendezvous_endpoint: one node meets nobody; leave it out, or set nodes to how many there are"
            )
        return self
