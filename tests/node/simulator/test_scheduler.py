"""Virtual time: in order of time, then in the order in which it was asked for."""

from __future__ import annotations

import pytest

from coopnode.simulator.scheduler import MS, SECOND, STANDSTILL_EVENTS, Scheduler, StandstillError


def test_events_happen_in_order_of_time_and_of_asking() -> None:
    scheduler = Scheduler()
    seen: list[tuple[str, int]] = []

    def note(name: str) -> None:
        seen.append((name, scheduler.now_us))

    scheduler.at(5, note, "late")
    scheduler.at(3, note, "first of three")
    scheduler.at(3, note, "second of three")
    scheduler.after(3, note, "third of three")
    scheduler.at(99, note, "not yet")
    scheduler.run_until(10)
    assert seen == [("first of three", 3), ("second of three", 3), ("third of three", 3), ("late", 5)]
    assert (scheduler.now_us, scheduler.done, scheduler.waiting()) == (10, 4, 1)


def test_nothing_happens_in_the_past() -> None:
    scheduler = Scheduler()
    times: list[int] = []
    scheduler.at(50, lambda _: scheduler.at(10, lambda _: times.append(scheduler.now_us)))
    scheduler.run_until(100)
    assert times == [50]


def test_time_goes_on_in_steps_until_a_condition_holds() -> None:
    scheduler = Scheduler()
    done: list[int] = []
    scheduler.at(3 * SECOND + 10 * MS, done.append, 1)
    scheduler.run_while(lambda: not done, 60 * SECOND, SECOND // 2)
    assert scheduler.now_us == 3_500_000
    assert scheduler.now_ms == 3_500
    scheduler.run_while(lambda: True, 5 * SECOND, SECOND // 2)
    assert scheduler.now_us == 5 * SECOND


def test_time_that_stands_still_is_noticed() -> None:
    scheduler = Scheduler()

    def again(delay_us: int) -> None:
        scheduler.after(delay_us, again, delay_us)

    scheduler.at(5, again, 1)
    scheduler.run_until(3 * STANDSTILL_EVENTS)
    scheduler.after(0, again, 0)
    with pytest.raises(StandstillError, match="Time stands still at"):
        scheduler.run_until(SECOND)
