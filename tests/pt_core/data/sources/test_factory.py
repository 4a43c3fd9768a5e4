"""A user's datasets, in the forms that libraries give them, and what is said about those that are none."""

from __future__ import annotations

import factories
import numpy as np
import pytest

from pt_core.data.config import SPLITS, DataConfig
from pt_core.data.dataset import load_split
from pt_core.data.prepare import prepare
from pt_core.data.requests import PrepareRequest
from pt_core.errors import ConfigError, DataError


def prepared(folder, target, *, labels=None, **factory):
    settings = {"source": "factory", "factory": {"target": target, **factory}, "labels": labels}
    config = DataConfig.model_validate(settings)
    return prepare(
        PrepareRequest(config=config, seed=0, base_dir=str(folder), source_sha256=None, store=str(folder))
    )


def everything(dataset):
    x, y = np.empty((factories.NUM, *dataset.input_shape), np.float32), np.empty(factories.NUM, np.int64)
    for name in SPLITS:
        samples = load_split(dataset, name)
        x[samples.ids], y[samples.ids] = samples.x, samples.y
    return x, y


@pytest.mark.parametrize(
    ("target", "settings", "labels"),
    [
        ("factories:pairs", {}, ("0", "1")),
        ("factories:pairs", {"arguments": {"names": True}}, ("no", "yes")),
        ("factories:tensors", {}, ("0", "1")),
        ("factories:Rows", {"input_key": "pixels", "target_key": "animal"}, ("cat", "dog")),
    ],
)
def test_datasets_of_every_form_give_their_samples(tmp_path, target, settings, labels):
    dataset = prepared(tmp_path, target, **settings)
    x, y = everything(dataset)
    np.testing.assert_array_equal(x, factories.values())
    np.testing.assert_array_equal(y, np.arange(factories.NUM) % 2)
    assert (dataset.labels, dataset.input_range) == (labels, None)


def test_pictures_have_their_channels_first_and_pixels_between_0_and_1(tmp_path):
    dataset = prepared(tmp_path, "factories:Pictures")
    x, _ = everything(dataset)
    assert (dataset.input_shape, dataset.input_range) == ((3, 4, 5), (0.0, 1.0))
    np.testing.assert_allclose(x[:, 0, 0, 0], np.arange(40) * 6 / 255, rtol=1e-6)
    assert dataset.labels == ("cat", "dog")


def test_splits_by_name_are_kept_and_the_missing_one_is_drawn_from_train(tmp_path):
    dataset = prepared(tmp_path, "factories:splits")
    assert [split.num_samples for split in dataset.splits] == [36, 6, 4, 10]
    np.testing.assert_array_equal(
        np.sort(load_split(dataset, "test").x, axis=0), np.sort(factories.values(10, seed=2), axis=0)
    )


def test_all_problems_of_splits_are_told_at_once(tmp_path):
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, "factories:twisted_splits")
    assert "the test dataset is empty" in caught.value.details[0]
    assert "the split is 'exam' in 4 row(s): 40, 41, 42, 43" in caught.value.details[1]


def test_samples_that_do_not_fit_are_named(tmp_path):
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, "factories:misfits")
    assert caught.value.details == (
        "factories:misfits: sample 3 has shape (4,), expected (3,) as the first; resize it in the dataset",
        "factories:misfits: sample 5 is str, expected (input, class)",
        "factories:misfits: sample 7 has an input of dtype <U4, expected numbers",
    )


def test_integers_that_float32_cannot_hold_are_refused_and_not_rounded(tmp_path):
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, "factories:great_integers")
    expected = "factories:great_integers: sample 2 has integers from 0 to 16777217, which float32 cannot hold"
    assert [detail[: len(expected)] for detail in caught.value.details] == [expected]


def test_odd_inputs_and_classes_are_named_with_what_to_do(tmp_path):
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, "factories:odd_samples")
    expected = (
        "1 has a class of shape (2,), expected one number or name; where classes are one-hot",
        "2 has a class of shape (2,), expected one number or name; where classes are one-hot",
        "3 has an input that becomes no array: setting an array element with a sequence",
        '4 is a Pillow image of mode RGBA, expected L or RGB; give image.convert("RGB")',
        "5 is a Pillow image of mode CMYK, expected L or RGB;",
        "6 has a class that is NoneType, expected one number or name",
    )
    assert len(caught.value.details) == len(expected)
    for found, part in zip(caught.value.details, expected, strict=True):
        assert found.startswith(f"factories:odd_samples: sample {part}")


@pytest.mark.parametrize(
    ("target", "arguments", "error", "expected"),
    [
        ("factories:raises", {"message": "no key"}, DataError, "factories:raises raised KeyError: 'no key'"),
        ("factories:pairs", {"size": 3}, DataError, "raised TypeError.*unexpected keyword argument 'size'"),
        ("factories:stream", {}, DataError, r"returned list_iterator, expected a dataset.*list\(...\)"),
        ("factories:nothing", {}, DataError, "returned NoneType"),
        ("factories:Failing", {}, DataError, "sample 0 raised RuntimeError: the disk is on fire at 0"),
        ("factories:missing", {}, ConfigError, "cannot be imported: AttributeError"),
        ("no_such_module:pairs", {}, ConfigError, "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_a_function_that_gives_no_dataset_is_refused(tmp_path, target, arguments, error, expected):
    with pytest.raises(error) as caught:
        prepared(tmp_path, target, arguments=arguments)
    import re

    assert re.search(expected, "\n".join([caught.value.message, *caught.value.details]))


def test_a_class_that_is_not_in_the_labels_is_named(tmp_path):
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, "factories:pairs", arguments={"names": True}, labels=["no", "maybe"])
    assert "class yes is not in data.labels, expected no, maybe" in caught.value.details[0]
