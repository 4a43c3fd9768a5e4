import gc
import itertools

import numpy as np
import pytest

from pt_core.evaluation.timing import MIN_ROUNDS, Interval, Plan, median_interval, ratio, time_rounds, widen


class Clock:
    """A clock that stands still but for what a contender spends."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now

    def spend(self, nanoseconds):
        self.now += nanoseconds


def test_each_contender_gets_its_own_times_whatever_the_order():
    clock = Clock()
    contenders = [lambda cost=cost: clock.spend(cost) for cost in (100, 200, 300)]
    times = time_rounds(contenders, Plan(6, 4, 1e9), generator=np.random.default_rng(0), clock=clock)
    assert times.shape == (6, 3, 4)
    assert (times == np.array([100, 200, 300])[None, :, None]).all()


def test_the_order_is_shuffled_every_round_and_the_same_for_the_same_seed():
    def orders(seed):
        seen = []
        contenders = [lambda i=i: seen.append(i) for i in range(4)]
        time_rounds(contenders, Plan(8, 1, 1e9), generator=np.random.default_rng(seed))
        return [tuple(dict.fromkeys(seen[start : start + 8])) for start in range(0, len(seen), 8)]

    assert all(sorted(order) == [0, 1, 2, 3] for order in orders(0))
    assert len(set(orders(0))) > 1
    assert orders(0) == orders(0)


def test_the_first_call_of_a_contender_in_a_round_is_not_counted():
    clock, costs = Clock(), itertools.cycle([1_000_000, 10, 10, 10])
    times = time_rounds(
        [lambda: clock.spend(next(costs))], Plan(5, 3, 1e9), generator=np.random.default_rng(0), clock=clock
    )
    assert (times == 10).all()


def test_rounds_stop_at_the_time_limit_but_never_before_five():
    for second, expected in [(1_000_000_000, MIN_ROUNDS), (100_000_000, 11)]:
        clock = Clock()
        times = time_rounds(
            [lambda clock=clock, second=second: clock.spend(second // 2)],
            Plan(100, 1, 1.0),
            generator=np.random.default_rng(0),
            clock=clock,
        )
        assert len(times) == expected


def test_rounds_go_on_while_a_ratio_is_not_known_and_stop_once_it_is():
    def rounds(noise):
        clock, generator = Clock(), np.random.default_rng(0)
        contenders = [
            lambda: clock.spend(1_000_000),
            lambda: clock.spend(int(1_000_000 * generator.lognormal(sigma=noise))),
        ]
        plan = Plan(10, 1, 1e9, extra_rounds=100, tolerance=0.03)
        return len(time_rounds(contenders, plan, generator=np.random.default_rng(0), clock=clock))

    assert rounds(0.0) == 10
    assert 10 < rounds(0.05) < 110
    assert rounds(1.0) == 110


def test_an_interval_is_widened_by_the_noise_and_at_least_by_the_floor():
    quiet, loud = Interval(1.0, 0.99, 1.01), Interval(1.0, 0.8, 1.1)
    assert widen(Interval(2.0, 1.9, 2.2), quiet, floor=0.1) == pytest.approx((1.9 / 1.1, 2.2 * 1.1))
    assert widen(Interval(2.0, 1.9, 2.2), loud, floor=0.1) == pytest.approx((1.9 * 0.8, 2.2 / 0.8))


def test_garbage_collection_waits_and_comes_back():
    seen = []
    time_rounds([lambda: seen.append(gc.isenabled())], Plan(5, 1, 1e9), generator=np.random.default_rng(0))
    assert set(seen) == {False}
    assert gc.isenabled()


def test_a_clock_too_coarse_for_a_call_does_not_give_zero():
    times = time_rounds([lambda: None], Plan(5, 2, 1e9), generator=np.random.default_rng(0), clock=lambda: 7)
    assert (times == 1).all()


def test_a_ratio_pairs_each_round_with_the_reference_of_the_same_round():
    generator = np.random.default_rng(0)
    drift = np.geomspace(1e6, 1e8, 20).astype(np.int64)[:, None]
    reference = np.repeat(drift, 5, axis=1)
    found = ratio(reference // 2, reference, generator=generator)
    assert found == pytest.approx((0.5, 0.5, 0.5), rel=1e-6)


def test_one_slow_call_does_not_move_a_round():
    reference = np.full((10, 5), 1000)
    times = np.full((10, 5), 2000)
    times[:, 3] = 10**9
    assert ratio(times, reference, generator=np.random.default_rng(0)).value == 2


def test_a_busy_neighbour_that_interrupts_long_calls_does_not_change_the_ratio():
    generator = np.random.default_rng(0)

    def timed(nanoseconds, *, busy):
        # A call is interrupted for 200 microseconds the more likely the longer it takes.
        interrupted = generator.random((40, 10)) < busy * nanoseconds / 1e6
        return nanoseconds + 200_000 * interrupted

    found = [
        ratio(timed(100_000, busy=busy), timed(800_000, busy=busy), generator=generator).value
        for busy in (0, 0.4, 0.8)
    ]
    assert found == pytest.approx([1 / 8] * 3)


def test_the_interval_holds_the_true_median_about_19_times_in_20():
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        values = generator.lognormal(mean=np.log(0.8), sigma=0.1, size=30)
        _, low, high = median_interval(values, generator=generator)
        hits += low <= 0.8 <= high
    assert 0.90 <= hits / 300 <= 0.99


def test_the_interval_holds_its_own_estimate():
    generator = np.random.default_rng(0)
    for size in range(5, 40):
        value, low, high = median_interval(generator.lognormal(size=size), generator=generator)
        assert low <= value <= high
