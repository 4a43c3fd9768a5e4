"""Your network. Any function or class that returns an nn.Module will do; pipeline.yaml names it."""

from torch import nn


def build(input_shape: tuple[int, ...], num_classes: int, hidden: int = 64) -> nn.Module:
    """Return a network from (N, *input_shape) to (N, num_classes) logits.

    Inputs arrive raw: pt-pipeline puts the normalisation in front of the network, inside the artifact.
    ``input_shape`` and ``num_classes`` are filled in from the data; ``hidden`` comes from pipeline.yaml.
    """
    (num_columns,) = input_shape
    return nn.Sequential(
        nn.Linear(num_columns, hidden),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, num_classes),
    )
