"""cnn: a small convolutional network for images from 8x8 pixels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

HIDDEN = 128
"""Width of the hidden linear layer."""


def cnn(input_shape: Sequence[int], num_classes: int, width: int = 32) -> nn.Module:
    """Return four conv-bn-relu blocks, two of them at half the size, and a classifier of two linear layers.

    Args:
        input_shape: (C, H, W) with H and W of at least 4.
        num_classes: number of logits.
        width: channels of the first blocks; the later ones have twice as many.

    Raises:
        ValueError: the input is no image of that size.
    """
    if len(input_shape) != 3 or min(input_shape[1:]) < 4:
        raise ValueError(
            f"input_shape is {tuple(input_shape)}, expected (C, H, W) with H and W of at least 4"
        )
    features = nn.Sequential(
        _block(input_shape[0], width),
        _block(width, width),
        nn.MaxPool2d(2),
        _block(width, 2 * width),
        _block(2 * width, 2 * width),
    )
    classifier = nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, num_classes),
    )
    return nn.Sequential(features, classifier)


def _block(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )
