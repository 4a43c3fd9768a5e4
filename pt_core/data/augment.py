"""Change a batch of training samples at random, each by its seed, epoch, id and showing alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from pt_core.data.augmentation import Augmentation

_GOLDEN = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_UNIFORM_BITS = 24


class Scale(NamedTuple):
    """What the strength of a change is measured in."""

    input_range: tuple[float, float] | None
    """Least and greatest legal value; ``None`` for a table."""
    mean: tuple[float, ...]
    """Per channel (or column), of the training split."""
    std: tuple[float, ...]
    """The same of the deviation."""


def augment(
    x: torch.Tensor,
    transforms: Sequence[Augmentation],
    *,
    seed: int,
    epoch: int,
    ids: torch.Tensor,
    showings: torch.Tensor | None = None,
    scale: Scale,
) -> torch.Tensor:
    """Return changed samples, of the same shape and inside the same range.

    Args:
        x: (N, C, H, W) images or (N, F) rows, float32.
        transforms: what is done to them, in this order.
        seed: of the run.
        epoch: from 1; another epoch changes a sample in another way.
        ids: (N,) int64 ids of the samples; the same id is changed in the same way in whatever batch it stands.
        showings: (N,) int64 how often each sample was shown in this epoch before; ``None`` where none was.
        scale: what strengths are measured in.
    """
    ids = ids.to(x.device)
    showings = torch.zeros_like(ids) if showings is None else showings.to(x.device)
    with torch.no_grad():
        for place, one in enumerate(transforms):
            draws = _Draws(_key(seed, epoch, place), ids, showings)
            is_chosen = draws.uniform(1).reshape(-1, *[1] * (x.ndim - 1)) < one.probability
            x = torch.where(is_chosen, _CHANGES[one.name](x, one.amount, draws, scale), x)
        if scale.input_range is not None:
            x = x.clamp(*scale.input_range)
    return x


class _Draws:
    """Random numbers of each sample, each a hash of a key, the sample's id and showing, and a counter: no state is kept.

    SplitMix64 (Steele, Lea and Flood 2014, https://doi.org/10.1145/2660193.2660195).
    """

    def __init__(self, key: int, ids: torch.Tensor, showings: torch.Tensor) -> None:
        first = _mix(_signed(key) + ids * _signed(_GOLDEN))
        self._states = torch.where(showings == 0, first, _mix(first ^ _mix(showings)))
        self._drawn = 0

    def uniform(self, count: int) -> torch.Tensor:
        """Return (N, count) float32 in [0, 1), other ones at each call."""
        device = self._states.device
        counters = torch.arange(self._drawn + 1, self._drawn + count + 1, device=device)
        self._drawn += count
        bits = _mix(self._states[:, None] + counters * _signed(_GOLDEN))
        return _shift(bits, 64 - _UNIFORM_BITS).to(torch.float32) * 2.0**-_UNIFORM_BITS

    def signed(self, count: int = 1) -> torch.Tensor:
        """Return (N, count) float32 in [-1, 1)."""
        return 2 * self.uniform(count) - 1

    def normal(self, count: int) -> torch.Tensor:
        """Return (N, count) float32 of the standard normal distribution, by the method of Box and Muller."""
        radius = torch.sqrt(-2 * torch.log1p(-self.uniform(count)))
        return radius * torch.cos(2 * math.pi * self.uniform(count))


def _key(*parts: int) -> int:
    """Return one number for several, by the same mixing in Python's integers."""
    key = 0
    for part in parts:
        key = (key ^ part) + _GOLDEN & (1 << 64) - 1
        for bits, factor in _MIX:
            key = (key ^ key >> bits) * factor & (1 << 64) - 1
        key ^= key >> 31
    return key


def _mix(states: torch.Tensor) -> torch.Tensor:
    for bits, factor in _MIX:
        states = (states ^ _shift(states, bits)) * _signed(factor)
    return states ^ _shift(states, 31)


def _shift(states: torch.Tensor, bits: int) -> torch.Tensor:
    # torch shifts signed numbers, which would drag the sign along.
    return (states >> bits) & ((1 << (64 - bits)) - 1)


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


Change = Callable[[torch.Tensor, float, _Draws, Scale], torch.Tensor]


def _horizontal_flip(x: torch.Tensor, amount: float, draws: _Draws, scale: Scale) -> torch.Tensor:
    from kornia.geometry.transform import hflip

    flipped: torch.Tensor = hflip(x)
    return flipped


def _vertical_flip(x: torch.Tensor, amount: float, draws: _Draws, scale: Scale) -> torch.Tensor:
    from kornia.geometry.transform import vflip

    flipped: torch.Tensor = vflip(x)
    return flipped


def _rotate(x: torch.Tensor, amount: float, draws: _Draws, scale: Scale) -> torch.Tensor:
    return _warp(x, angle=amount * draws.signed()[:, 0])


def _shift_image(x: torch.Tensor, amount: float, draws: _Draws, scale: Scale) -> torch.Tensor:
    height, width = x.shape[2:]
    size = torch.tensor([width, height], dtype=x.dtype, device=x.device)
    return _warp(x, translation=amount * draws.signed(2) * size)


def _zoom(x: torch.Tensor, amount: float, draws: _Draws, scale: Scale) -> torch.Tensor:
    return _warp(x, zoom=1 + amount * draws.signed().expand(-1, 2))


def _shear(x: torch.Tensor, amount: float, draws: _Draws, scale: Scale) -> torch.Tensor:
    return _warp(x, shear=math.radians(amount) * draws.signed()[:, 0])


def _warp(
    x: torch.Tensor,
    *,
    angle: torch.Tensor | None = None,
    translation: torch.Tensor | None = None,
    zoom: torch.Tensor | None = None,
    shear: torch.Tensor | None = None,
) -> torch.Tensor:
    from kornia.geometry.transform import get_affine_matrix2d, warp_affine

    num_samples, _, height, width = x.shape
    pairs = torch.zeros((num_samples, 2), dtype=x.dtype, device=x.device)
    centre = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=x.dtype, device=x.device)
    matrices = get_affine_matrix2d(
        pairs if translation is None else translation,
        centre.expand(num_samples, 2),
        pairs + 1 if zoom is None else zoom,
        pairs[:, 0] if angle is None else angle,
        sx=shear,
        sy=None if shear is None else pairs[:, 0],
    )
    # Zero need not be black: what comes in from outside is what stands at the edge.
    warped: torch.Tensor = warp_affine(x, matrices[:, :2], (height, width), padding_mode="border")
    return warped


def _brightness(x: torch.Tensor, amount: float, draws: _Draws, scale: Scale) -> torch.Tensor:
    least, greatest = scale.input_range or (0.0, 1.0)
    return x + (greatest - least) * amount * _per_sample(draws.signed(), x)


def _contrast(x: torch.Tensor, amount: float, draws: _Draws, scale: Scale) -> torch.Tensor:
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (1 + amount * _per_sample(draws.signed(), x)) * (x - mean)


def _saturation(x: torch.Tensor, amount: float, draws: _Draws, scale: Scale) -> torch.Tensor:
    from kornia.enhance import adjust_saturation

    least, greatest = scale.input_range or (0.0, 1.0)
    unit = (x - least) / (greatest - least)
    changed: torch.Tensor = adjust_saturation(unit, 1 + amount * _per_sample(draws.signed(), x))
    return least + (greatest - least) * changed


def _blur(x: torch.Tensor, amount: float, draws: _Draws, scale: Scale) -> torch.Tensor:
    from kornia.filters import gaussian_blur2d

    # Wide enough for three deviations, odd, and no wider than reflecting at the edge can fill.
    widest = 2 * (min(x.shape[2:]) - 1) + 1
    size = min(2 * math.ceil(3 * amount) + 1, widest)
    sigma = (amount * (0.25 + 0.75 * draws.uniform(1))).clamp(min=0.1).expand(-1, 2)
    blurred: torch.Tensor = gaussian_blur2d(x, size, sigma)
    return blurred


def _erase(x: torch.Tensor, amount: float, draws: _Draws, scale: Scale) -> torch.Tensor:
    """Set one rectangle of each image to the mean (Zhong et al. 2017, https://arxiv.org/abs/1708.04896)."""
    height, width = x.shape[2:]
    drawn = draws.uniform(4)
    area = amount * drawn[:, 0]
    # A ratio of the sides from 1/2 to 2, as many flat rectangles as tall ones.
    ratio = torch.exp(math.log(2) * (2 * drawn[:, 1] - 1))
    tall, wide = (torch.sqrt(area * ratio)).clamp(max=1), (torch.sqrt(area / ratio)).clamp(max=1)
    rows = (torch.arange(height, device=x.device) + 0.5) / height
    columns = (torch.arange(width, device=x.device) + 0.5) / width
    top, left = drawn[:, 2] * (1 - tall), drawn[:, 3] * (1 - wide)
    is_row = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
    is_column = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
    inside = (is_row[:, :, None] & is_column[:, None, :])[:, None]
    return torch.where(inside, _per_channel(scale.mean, x), x)


def _noise(x: torch.Tensor, amount: float, draws: _Draws, scale: Scale) -> torch.Tensor:
    unit = _per_channel(scale.std, x)
    if scale.input_range is not None:
        unit = torch.full_like(unit, scale.input_range[1] - scale.input_range[0])
    return x + amount * unit * draws.normal(x[0].numel()).reshape(x.shape)


def _per_sample(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return values.reshape(-1, *[1] * (x.ndim - 1))


def _per_channel(values: tuple[float, ...], x: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=x.dtype, device=x.device).reshape(1, -1, *[1] * (x.ndim - 2))


_CHANGES: dict[str, Change] = {
    "horizontal-flip": _horizontal_flip,
    "vertical-flip": _vertical_flip,
    "rotate": _rotate,
    "shift": _shift_image,
    "zoom": _zoom,
    "shear": _shear,
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "blur": _blur,
    "erase": _erase,
    "noise": _noise,
}
