"""The optimizers that a configuration may name, and the options that each takes; torch is not imported."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Literal, NamedTuple

OptimizerName = Literal[
    "adamw",
    "sgd",
    "adam",
    "nadam",
    "radam",
    "adamax",
    "rmsprop",
    "adagrad",
    "adadelta",
    "adafactor",
    "asgd",
    "rprop",
]


class Recipe(NamedTuple):
    """One optimizer of torch.optim."""

    class_name: str
    """Its class there."""
    options: tuple[str, ...]
    """What ``train.optimizer_options`` may set; learning rate, decay and SGD's momentum have keys of their own."""
    decays: bool = True
    """Whether it has a weight decay."""


# Left out: LBFGS evaluates a step several times, SparseAdam takes sparse gradients only, and Muon takes only
# matrices, so that a network with a bias or a convolution would need a second optimizer.
OPTIMIZERS: dict[str, Recipe] = {
    "adamw": Recipe("AdamW", ("betas", "eps", "amsgrad")),
    "sgd": Recipe("SGD", ("dampening", "nesterov")),
    "adam": Recipe("Adam", ("betas", "eps", "amsgrad", "decoupled_weight_decay")),
    "nadam": Recipe("NAdam", ("betas", "eps", "momentum_decay", "decoupled_weight_decay")),
    "radam": Recipe("RAdam", ("betas", "eps", "decoupled_weight_decay")),
    "adamax": Recipe("Adamax", ("betas", "eps")),
    "rmsprop": Recipe("RMSprop", ("alpha", "eps", "momentum", "centered")),
    "adagrad": Recipe("Adagrad", ("lr_decay", "initial_accumulator_value", "eps")),
    "adadelta": Recipe("Adadelta", ("rho", "eps")),
    "adafactor": Recipe("Adafactor", ("beta2_decay", "eps", "d")),
    "asgd": Recipe("ASGD", ("lambd", "alpha", "t0")),
    "rprop": Recipe("Rprop", ("etas", "step_sizes"), decays=False),
}
"""By the name in ``train.optimizer``."""


def check_options(optimizer: str, options: Iterable[str]) -> None:
    """Refuse an option that an optimizer does not take.

    Raises:
        ValueError: naming the option, the nearest one, and all that it takes.
    """
    allowed = OPTIMIZERS[optimizer].options
    for name in options:
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(
                f"optimizer_options.{name}: {optimizer} takes no such option{hint}; it takes {', '.join(allowed)}"
            )
