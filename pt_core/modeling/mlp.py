"""mlp: fully connected layers, for tables and for images taken as rows of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn


def mlp(
    input_shape: Sequence[int],
    num_classes: int,
    hidden: Sequence[int] = (128, 64),
    dropout: float = 0.0,
) -> nn.Module:
    """Return linear layers with ReLU between them.

    Args:
        input_shape: shape of one sample; it is flattened.
        num_classes: number of logits.
        hidden: width of each hidden layer, in order.
        dropout: share of hidden values set to zero in training, 0 to 1.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(input_shape)
    for next_width in hidden:
        layers += [nn.Linear(width, next_width), nn.ReLU()]
        layers += [nn.Dropout(dropout)] if dropout else []
        width = next_width
    return nn.Sequential(*layers, nn.Linear(width, num_classes))
