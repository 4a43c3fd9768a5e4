"""The grid: which batches it holds, how samples are resized, and what is unlike the data."""

from __future__ import annotations

import numpy as np
import pytest

from pt_core.artifacts.plugin import EXPORT_BATCH
from pt_core.errors import ConfigError, DataError
from pt_core.evaluation.parity_grid import NUM_SAMPLES, in_export_batches, make_grid
from pt_core.modeling.axes import check_axes, resize
from pt_core.modeling.spec import DynamicAxis, ModelSpec

SAMPLES = np.random.default_rng(0).random((80, 1, 8, 8), dtype=np.float32)
HEIGHT, WIDTH = DynamicAxis(axis=1, min=4, max=16), DynamicAxis(axis=2, min=8, max=9)


def test_the_grid_has_one_two_three_an_odd_size_the_exports_and_a_large_one():
    grid = make_grid(SAMPLES)
    sizes = [len(batch.inputs) for batch in grid if batch.kind == "usual"]
    assert sizes == [1, 2, 3, 7, EXPORT_BATCH, 64]
    assert max(sizes) + len(sizes) == NUM_SAMPLES


def test_the_batch_of_the_exports_size_is_the_example_itself():
    example = SAMPLES[70:75]
    (batch,) = [b for b in make_grid(SAMPLES, example=example) if len(b.inputs) == 8 and b.kind == "usual"]
    np.testing.assert_array_equal(batch.inputs, np.concatenate([example, example[:3]]))


def test_every_axis_has_its_least_an_odd_one_between_and_its_greatest_and_all_of_them_together():
    shapes = [batch.sample_shape for batch in make_grid(SAMPLES, (HEIGHT, WIDTH)) if batch.kind == "resized"]
    assert shapes == [(1, 4, 8), (1, 11, 8), (1, 16, 8), (1, 8, 9), (1, 11, 9), (1, 16, 9)]
    assert {len(b.inputs) for b in make_grid(SAMPLES, (HEIGHT,)) if b.kind == "resized"} == {3}


def test_a_sample_is_cropped_or_tiled_to_another_size():
    sample = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    assert resize(sample, (1, 2)).tolist() == [[[0, 1]]]
    assert resize(sample, (3, 4)).tolist() == [[[0, 1, 2, 0], [3, 4, 5, 3], [0, 1, 2, 0]]]


def test_what_is_unlike_the_data_is_in_its_range_varies_and_is_always_the_same():
    first, second = (make_grid(SAMPLES), make_grid(SAMPLES))
    unlike = [batch.inputs for batch in first if batch.kind == "unlike"]
    assert len(unlike) == 2
    for inputs, again in zip(unlike, [b.inputs for b in second if b.kind == "unlike"], strict=True):
        np.testing.assert_array_equal(inputs, again)
        assert (inputs.shape, inputs.dtype) == ((8, 1, 8, 8), np.float32)
        assert inputs.min() >= SAMPLES.min() - 1e-6
        assert inputs.max() <= SAMPLES.max() + 1e-6
        assert inputs.reshape(8, -1).std(axis=1).min() > 0.01
    assert unlike[1].max() < 0.2


def test_samples_of_a_batch_are_dealt_into_batches_of_the_exports_size():
    grid = make_grid(SAMPLES)
    (one,) = in_export_batches(grid[0])
    np.testing.assert_array_equal(one.inputs, np.repeat(grid[0].inputs, 8, axis=0))
    parts = in_export_batches(grid[5])
    np.testing.assert_array_equal(np.concatenate([part.inputs for part in parts]), grid[5].inputs)


def test_no_sample_is_an_error():
    with pytest.raises(DataError, match="no samples"):
        make_grid(SAMPLES[:0])


def spec(*axes: DynamicAxis, mean=None) -> ModelSpec:
    return ModelSpec(
        target="tiny:Convolutional",
        arguments={},
        input_shape=(1, 8, 8),
        num_classes=10,
        mean=mean,
        std=mean,
        input_range=(0, 1),
        dynamic_axes=axes,
    )


@pytest.mark.parametrize(
    ("made", "match"),
    [
        (
            spec(DynamicAxis(axis=3, min=4, max=16)),
            r"dynamic_axes\[0\]: axis 3 of samples \(1, 8, 8\), .* 0 to 2",
        ),
        (spec(HEIGHT, HEIGHT), r"dynamic_axes\[1\]: axis 1 is declared twice"),
        (spec(DynamicAxis(axis=1, min=9, max=16)), "takes 9 to 16, and the training data has 8; widen"),
        (spec(DynamicAxis(axis=0, min=1, max=3), mean=(0.5,)), "axis 0 is normalised, .* cannot vary"),
    ],
)
def test_an_axis_that_no_network_of_this_input_can_vary_is_refused(made, match):
    with pytest.raises(ConfigError, match=match):
        check_axes(made)


def test_an_axis_of_one_size_is_no_range():
    with pytest.raises(ValueError, match="sizes 8 to 8, expected min below max"):
        DynamicAxis(axis=1, min=8, max=8)


def test_a_spec_accepts_its_own_shape_and_declared_sizes_only():
    made = spec(HEIGHT)
    accepted = [
        shape
        for shape in ((1, 8, 8), (1, 4, 8), (1, 16, 8), (1, 3, 8), (1, 17, 8), (1, 8, 9), (8, 8))
        if made.accepts(shape)
    ]
    assert accepted == [(1, 8, 8), (1, 4, 8), (1, 16, 8)]
    assert made.describe_input() == "1, 4 to 16, 8"
