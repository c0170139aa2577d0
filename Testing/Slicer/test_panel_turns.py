"""Work between events: tasks one after the other, numbers in a thread, nodes on the main thread alone."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from heartbeat import listening
from KLIPSlicerLib.steps import Steps, aside, atOnce
from KLIPSlicerLib.turns import Task, Turns
from standins import person


def counting(n: int, seen: list[int]) -> Steps[int]:
    """A task of n steps."""
    for k in range(n):
        seen.append(k)
        yield
    return n


def test_what_a_thread_returns_or_raises_comes_back(widget: Any) -> None:
    main = threading.get_ident()
    assert atOnce(aside(threading.get_ident)) != main
    with pytest.raises(ZeroDivisionError):
        atOnce(aside(lambda: 1 // 0))


def test_events_go_on_while_a_thread_works(widget: Any) -> None:
    ended: list[Any] = []
    turns, enough = Turns(), threading.Event()
    with listening() as heart:
        turns.add(Task("wait", lambda: aside(lambda: enough.wait(60)), ended.append, ended.append))
        person.wait(lambda: heart.beats > 10, 60, "events go on")
        assert not ended
        enough.set()
        person.wait(lambda: ended, 60, "it ends")
    assert ended == [True]
    assert not turns.working


def test_tasks_keep_their_order_and_only_the_last_of_a_name_counts(widget: Any) -> None:
    turns, said, seen = Turns(), [], []
    for name, n in (("a", 3), ("slider", 10), ("slider", 20), ("b", 2), ("slider", 30)):
        turns.add(Task(name, lambda n=n: counting(n, seen), lambda n, name=name: said.append((name, n)), said.append))
    person.wait(lambda: not turns.working, 10, "all are done")
    assert said == [("a", 3), ("b", 2), ("slider", 30)]
    assert len(seen) == 35


def test_a_task_that_fails_is_told_and_the_next_one_is_done(widget: Any) -> None:
    def failing() -> Steps[None]:
        yield
        raise ValueError("no")

    turns, said = Turns(), []
    turns.add(Task("a", failing, said.append, lambda error: said.append(str(error))))
    turns.add(Task("b", lambda: counting(1, []), said.append, said.append))
    person.wait(lambda: not turns.working, 10, "all are done")
    assert said == ["no", 1]


def test_what_is_given_up_says_nothing_and_cleans_up(widget: Any) -> None:
    left: list[str] = []

    def tidy() -> Steps[None]:
        try:
            while True:
                yield
        finally:
            left.append("tidied")

    turns, said = Turns(), []
    turns.add(Task("a", tidy, said.append, said.append))
    turns.add(Task("b", lambda: counting(1, []), said.append, said.append))
    person.events(0.05)
    turns.clear()
    person.events(0.05)
    assert (left, said, turns.working) == (["tidied"], [], False)
