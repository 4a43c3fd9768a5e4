"""resnet18: the residual network of He et al. 2016, https://arxiv.org/abs/1512.03385."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

SMALL_IMAGE = 64
"""Images with a shorter side keep their size in the first layer, as in section 4.2 of the paper."""

_BLOCKS_PER_STAGE = 2


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut: (N, in, H, W) -> (N, out, H / stride, W / stride)."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        """Build the block; the shortcut is a 1x1 convolution where the shape changes."""
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
        self.activation = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the activation of residual plus shortcut."""
        out: torch.Tensor = self.activation(self.residual(x) + self.shortcut(x))
        return out


def resnet18(input_shape: Sequence[int], num_classes: int, width: int = 64) -> nn.Module:
    """Return a ResNet-18: a stem, four stages of two residual blocks, a linear classifier.

    Args:
        input_shape: (C, H, W); below 64 pixels the stem is one 3x3 convolution without pooling.
        num_classes: number of logits.
        width: channels of the first stage; each later stage has twice as many.

    Raises:
        ValueError: the input is no image.
    """
    if len(input_shape) != 3:
        raise ValueError(f"input_shape is {tuple(input_shape)}, expected (C, H, W)")
    stages = []
    in_channels = width
    for stage in range(4):
        out_channels = width * 2**stage
        stages.append(_stage(in_channels, out_channels, stride=1 if stage == 0 else 2))
        in_channels = out_channels
    classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in_channels, num_classes))
    return nn.Sequential(_stem(input_shape, width), *stages, classifier)


def _stem(input_shape: Sequence[int], width: int) -> nn.Module:
    channels = input_shape[0]
    if min(input_shape[1:]) < SMALL_IMAGE:
        convolution, pool = nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.Identity()
        return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(), pool)
    return nn.Sequential(
        nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
    )


def _stage(in_channels: int, out_channels: int, *, stride: int) -> nn.Module:
    first = ResidualBlock(in_channels, out_channels, stride=stride)
    rest = [ResidualBlock(out_channels, out_channels, stride=1) for _ in range(_BLOCKS_PER_STAGE - 1)]
    return nn.Sequential(first, *rest)
