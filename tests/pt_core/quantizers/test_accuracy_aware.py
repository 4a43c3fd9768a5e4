"""Which layers stay in floating point: the search over made-up networks whose accuracy is known, and its formula."""

from __future__ import annotations

import numpy as np
import pytest

from pt_core.artifacts.artifact import LayerDamage
from pt_core.errors import AccuracyNotReached, error_from_dict
from pt_core.quantizers.accuracy_aware import Search, accuracy, noise_to_signal, rank_layers, search

LAYERS = tuple(f"layer{i}" for i in range(10))
RANKED = tuple(LayerDamage(layer=name, damage=10.0 - i) for i, name in enumerate(LAYERS))


def run(needed: int, *, max_tries: int = 8, max_accuracy_drop: float = 0.01):
    """Search a network that loses 0.05 until the ``needed`` worst layers are kept; return it and what was asked."""
    asked: list[int] = []
    ranked: list[int] = []

    def quantize(kept: tuple[str, ...]) -> int:
        assert kept == LAYERS[: len(kept)]
        asked.append(len(kept))
        return len(kept)

    def rank() -> tuple[LayerDamage, ...]:
        ranked.append(1)
        return RANKED

    found = search(
        quantize,
        lambda num_kept: 0.9 if num_kept >= needed else 0.85,
        rank,
        scheme="q",
        float_accuracy=0.9,
        max_accuracy_drop=max_accuracy_drop,
        max_tries=max_tries,
    )
    return found, asked, len(ranked)


def test_nothing_is_ranked_where_everything_may_be_quantized():
    found, asked, num_ranked = run(0)
    assert (found.candidate, asked, num_ranked) == (0, [0], 0)
    assert found.damage == ()
    assert [len(one.kept_layers) for one in found.tries] == [0]


@pytest.mark.parametrize(
    ("needed", "tried"),
    [
        (1, [0, 1]),
        (2, [0, 1, 2]),
        (3, [0, 1, 2, 4, 3]),
        (6, [0, 1, 2, 4, 8, 6, 5]),
        (9, [0, 1, 2, 4, 8, 9]),
    ],
)
def test_the_fewest_layers_that_are_enough_are_kept_and_the_ranking_is_made_once(needed, tried):
    found, asked, num_ranked = run(needed)
    assert asked == tried
    assert found.candidate == needed
    assert num_ranked == 1
    assert found.damage == RANKED
    assert [len(one.kept_layers) for one in found.tries] == tried
    assert [round(one.accuracy_drop, 6) for one in found.tries] == [
        0.0 if n >= needed else 0.05 for n in tried
    ]


def test_what_the_budget_allows_is_returned_though_fewer_layers_might_do():
    found, asked, _ = run(5, max_tries=5)
    assert asked == [0, 1, 2, 4, 8]
    assert found.candidate == 8


def test_a_budget_that_ends_before_the_limit_is_reached_is_a_failure_that_lists_every_try():
    with pytest.raises(
        AccuracyNotReached, match=r"q: .* drop .* is 0\.0500.*at most 0\.01.*raise max_tries \(now 3\)"
    ) as caught:
        run(5, max_tries=3)
    assert [line.split(" layers")[0] for line in caught.value.details] == ["0", "1", "2"]
    assert "2 layers kept (layer0, layer1): accuracy " in caught.value.details[2]
    kept = Search.from_json(error_from_dict(caught.value.to_dict()).evidence)
    assert [one.kept_layers for one in kept.tries] == [(), LAYERS[:1], LAYERS[:2]]
    assert kept.damage == RANKED


def test_one_layer_at_least_becomes_int8_so_a_limit_may_be_out_of_reach():
    with pytest.raises(AccuracyNotReached, match="every number of layers was tried") as caught:
        run(10)
    assert [line.split(" layers")[0] for line in caught.value.details] == ["0", "1", "2", "4", "8", "9"]
    assert "8 layers kept (layer0, layer1, layer2, layer3, layer4, ...): " in caught.value.details[4]


def test_a_gain_of_accuracy_is_within_any_limit():
    found = search(
        lambda kept: kept,
        lambda _: 0.95,
        lambda: (),
        scheme="q",
        float_accuracy=0.9,
        max_accuracy_drop=0.0,
        max_tries=1,
    )
    assert found.tries[0].accuracy_drop == pytest.approx(-0.05)


def test_damage_is_noise_over_signal_of_centred_logits():
    expected = np.array([[1.0, -1.0], [3.0, 1.0]], np.float32)
    # Row 0 is off by (1, -1), row 1 only by a constant, which softmax does not see: noise 2, signal 4.
    observed = np.array([[2.0, -2.0], [8.0, 6.0]], np.float32)
    assert noise_to_signal(observed, expected) == pytest.approx(2 / 4)
    assert noise_to_signal(expected, expected) == 0


def test_layers_are_ranked_by_damage_and_equal_ones_stay_in_graph_order():
    expected = np.array([[1.0, -1.0]], np.float32)
    gain = {"a": 1.1, "b": 1.5, "c": 1.1}
    ranked = rank_layers(("a", "b", "c"), lambda layer: expected * np.float32(gain[layer]), expected)
    assert [one.layer for one in ranked] == ["b", "a", "c"]
    assert ranked[0].damage == pytest.approx(0.25, rel=1e-5)


def test_accuracy_is_the_share_of_samples_whose_greatest_logit_is_their_class():
    assert accuracy(np.array([[0, 1], [1, 0], [0, 1]], np.float32), np.array([1, 1, 1])) == pytest.approx(
        2 / 3
    )
