"""The decisions of a cluster, under a driven clock: breaker, share, tiers, policies, routes and attempts."""

from __future__ import annotations

import socket

import pytest

from poolhouse.cluster import breaker as breakers
from poolhouse.cluster import node as nodes
from poolhouse.cluster.balance import POLICIES, distance, schedule
from poolhouse.cluster.breaker import Breaker, State
from poolhouse.cluster.codes import FAILS, TRANSPORT, judge, judge_connect, rule_of
from poolhouse.cluster.route import MOST_ATTEMPTS, Route, Tries, is_read
from poolhouse.errors import ConnectFailed, PoolClosed, PoolTimeout
from poolhouse.options import POLICIES as NAMES
from tests.cluster.driven import Driven

REFUSED = OSError("refused")

# -- the breaker


def test_three_failures_in_a_row_open_and_a_success_between_them_does_not() -> None:
    one = Breaker()
    assert not one.failed(1)
    assert not one.failed(1)
    one.succeeded(0, 1)
    assert not one.failed(2)
    assert not one.failed(2)
    assert one.state is State.CLOSED
    assert one.failed(2)
    assert one.is_open
    assert not one.failed(2), "it opens once"


def test_a_connect_that_failed_opens_at_once() -> None:
    assert Breaker().failed(1, at_once=True)


def test_the_cool_down_doubles_up_to_its_limit_and_has_jitter() -> None:
    waits = {}
    for chance in (0.0, 1.0):
        one = Breaker(chance=lambda chance=chance: chance)  # type: ignore[misc]  # a default, to bind it now
        now = 100.0
        one.failed(now, at_once=True)
        waits[chance] = []
        for _ in range(6):
            waits[chance].append(one.due_at - now)
            now = one.due_at
            assert not one.take_probe(now - 0.001, 5)
            assert one.take_probe(now, 5)
            one.probed(False, now)
    assert waits[0.0] == pytest.approx([0.25, 0.5, 1.0, 2.0, 2.0, 2.0])
    assert waits[1.0] == pytest.approx([each * (1 - breakers.JITTER) for each in waits[0.0]])


def test_a_return_that_does_not_last_goes_on_with_the_cool_down_that_was() -> None:
    one = Breaker(chance=lambda: 0.0)
    now = 100.0
    one.failed(now, at_once=True)
    for _ in range(2):
        now = one.due_at
        one.take_probe(now, 5)
        one.probed(False, now)
    now = one.due_at
    one.take_probe(now, 5)
    assert one.probed(True, now)
    assert one.state is State.CLOSED
    one.failed(now + 1, at_once=True)
    assert one.due_at - (now + 1) == pytest.approx(2.0)
    # After a long time in health it begins anew.
    one.take_probe(one.due_at, 5)
    one.probed(True, one.due_at)
    later = one.closed_at + breakers.MEMORY + 1
    one.failed(later, at_once=True)
    assert one.due_at - later == pytest.approx(breakers.SHORTEST)


def test_one_probe_at_a_time_and_one_that_is_lost_is_replaced() -> None:
    one = Breaker(chance=lambda: 0.0)
    one.failed(0, at_once=True)
    assert one.take_probe(1, patience=5)
    assert not one.take_probe(1, 5)
    assert not one.take_probe(5.9, 5)
    assert one.take_probe(6, 5)
    assert not one.take_probe(6, 5)


def test_a_suspect_is_asked_at_once_and_is_open_only_if_it_does_not_answer() -> None:
    for ok in (True, False):
        one = Breaker(chance=lambda: 0.0)
        one.suspect(10)
        assert one.state is State.SUSPECT
        assert one.take_probe(10, 5)
        assert one.probed(ok, 11) is (not ok)
        assert one.state is (State.CLOSED if ok else State.OPEN)
        # A long statement costs the node nothing.
        assert one.closed_at == float("-inf")


def test_a_success_closes_only_if_it_began_after_the_opening() -> None:
    one = Breaker()
    one.failed(10, at_once=True)
    assert not one.succeeded(9.9, 11)
    assert one.is_open
    assert one.succeeded(10.1, 11)
    assert not one.is_open


# -- the share of a node


def test_after_a_return_the_share_and_the_connections_grow() -> None:
    driven = Driven(3)
    back = driven.list[0]
    back.connect_failed(REFUSED, driven.now)
    back.breaker.take_probe(driven.now + 1, 5)
    driven.now += 1
    assert back.probed(None, driven.now)
    shares = []
    for step in (0.0, 0.25, 0.5, 0.75, 1.0):
        now = driven.now + step * nodes.SLOW_START
        shares.append(round(back.share(now), 3))
        limit = max(1.0, back.share(now) * 20)
        driven.loads[back.name] = int(limit) + 1
        assert back.admits(now) is (step == 1.0)
        driven.loads[back.name] = int(limit) - 1
        assert back.admits(now)
    assert shares == [0.1, 0.325, 0.55, 0.775, 1.0]
    # What it does not get, the others do, in equal parts.
    driven.loads.clear()
    driven.chance = 0.99
    picked = driven.picks(300)
    assert picked[0] == 0
    assert picked[1] == picked[2]


def test_a_soft_penalty_halves_the_share_passes_and_ejects_nobody() -> None:
    driven = Driven(2)
    busy = driven.list[0]
    for _ in range(20):
        assert not busy.ended(rule_of(202), 0, driven.now)
    assert busy.trusted
    assert busy.share(driven.now) == nodes.LEAST_SHARE
    assert busy.share(driven.now + nodes.PENALTY / 2) == pytest.approx(0.55)
    assert busy.share(driven.now + nodes.PENALTY) == 1.0


def test_a_node_that_takes_no_writes_gets_reads_only() -> None:
    driven = Driven(2)
    driven.list[0].ended(rule_of(242), 0, driven.now)
    driven.now += nodes.PENALTY
    assert driven.picks(10, write=True) == [0, 10]
    assert driven.picks(10) == [5, 5]
    driven.now += nodes.NO_WRITES
    assert driven.picks(10, write=True) == [5, 5]


# -- tiers


def test_at_most_half_are_out_and_what_answers_stays_in_turn() -> None:
    driven = Driven(4)
    for at in (0, 1, 2):
        driven.now += 1
        for _ in range(3):
            driven.list[at].ended(TRANSPORT, 0, driven.now)
    assert list(driven.nodes.tiers().values()) == [2, 2, 0, 0]
    assert driven.picks(10) == [0, 0, 5, 5]


def test_beyond_the_limit_what_cannot_be_reached_stands_aside() -> None:
    driven = Driven(3)
    for at in (0, 1):
        driven.now += 1
        driven.list[at].connect_failed(REFUSED, driven.now)
    assert list(driven.nodes.tiers().values()) == [2, 1, 0]
    assert driven.picks(10) == [0, 0, 10]


def test_all_down_each_is_still_tried() -> None:
    driven = Driven(3)
    for each in driven.list:
        each.connect_failed(REFUSED, driven.now)
    tried: list[object] = []
    while (found := driven.nodes.pick(driven.now, avoid=tried)) is not None:  # type: ignore[arg-type]
        tried.append(found)
    assert set(tried) == set(driven.list)


def test_a_suspect_gets_nobody_while_there_are_others() -> None:
    driven = Driven(2)
    driven.list[0].breaker.suspect(driven.now)
    assert driven.picks(10) == [0, 10]


# -- policies


def test_there_is_a_policy_for_each_name() -> None:
    assert POLICIES.keys() == set(NAMES)


@pytest.mark.parametrize(
    ("policy", "weights", "wanted"),
    [
        ("round_robin", (), [100, 100, 100]),
        ("weighted", (3, 2, 1), [150, 100, 50]),
        ("in_order", (), [300, 0, 0]),
        ("first_or_random", (), [300, 0, 0]),
    ],
)
def test_exact_policies(policy: str, weights: tuple[int, ...], wanted: list[int]) -> None:
    assert Driven(3, policy, weights).picks(300) == wanted


def test_without_the_first_the_others_share() -> None:
    for policy, each in (("round_robin", 150), ("first_or_random", 90), ("random", 90), ("weighted", 90)):
        driven = Driven(3, policy)
        driven.list[0].connect_failed(REFUSED, driven.now)
        picked = driven.picks(300)
        assert (picked[0], min(picked[1:]) >= each) == (0, True), (policy, picked)
    driven = Driven(3, "in_order")
    driven.list[0].connect_failed(REFUSED, driven.now)
    assert driven.picks(10) == [0, 10, 0]


def test_random_is_random() -> None:
    picked = Driven(3, "random").picks(3000)
    assert min(picked) > 800


def test_the_nearest_host_name() -> None:
    driven = Driven(3, "nearest_hostname")
    here = socket.gethostname()
    for node, host in zip(driven.list, ("x" * len(here), here, here + "9"), strict=True):
        node.host = host
    assert driven.picks(10) == [0, 10, 0]
    assert distance(here, here) == 0


def test_least_loaded_goes_by_load_times_latency() -> None:
    driven = Driven(2, "least_loaded")
    one, other = driven.list
    driven.loads.update({one.name: 5, other.name: 4})
    assert driven.picks(10) == [0, 10]
    # A factor of less than two is noise.
    one.measured(0.010, driven.now)
    other.measured(0.019, driven.now)
    assert driven.picks(10) == [0, 10]
    # Ten times as slow: as slow as nine full pools before it.
    driven = Driven(2, "least_loaded")
    fast, slow = driven.list
    fast.measured(0.010, driven.now)
    slow.measured(0.100, driven.now)
    driven.loads.update({fast.name: 170, slow.name: 0})
    assert driven.picks(10) == [10, 0]
    driven.loads.update({fast.name: 190})
    assert driven.picks(10) == [0, 10]


def test_a_slow_node_is_forgotten_to_be_slow() -> None:
    driven = Driven(2)
    slow = driven.list[0]
    slow.measured(0.8, driven.now)
    assert slow.latency_at(driven.now + nodes.FORGET) == pytest.approx(0.4)


def test_a_stall_is_one_stall_however_many_borrowers_measure_it() -> None:
    driven = Driven(1)
    node = driven.list[0]
    for step in range(100):
        node.measured(0.05, driven.now + step / 100)
    assert node.latency == pytest.approx(0.05)
    for _ in range(20):
        node.measured(0.35, driven.now + 1.3)
    assert 0.1 < node.latency < 0.15
    for step in range(100):
        node.measured(0.05, driven.now + 1.3 + step / 50)
    assert node.latency < 0.07


def test_least_loaded_tries_a_slow_node_again() -> None:
    driven = Driven(3, "least_loaded")
    for node, latency in zip(driven.list, (0.5, 0.01, 0.01), strict=True):
        node.measured(latency, driven.now)
    for node in driven.list[1:]:
        node.measured(0.01, driven.now + 0.1)
    assert driven.picks(1000)[0] == 2


def test_a_schedule_is_spread() -> None:
    assert schedule((5, 1, 1)).count(0) == 5
    assert schedule((4, 2)) == schedule((2, 1))
    longest = max(len(run) for run in "".join(map(str, schedule((5, 3)))).split("1"))
    assert longest <= 2


# -- what an error says

TABLE = {
    (32, 95, 96, 209, 210, 279): {"elsewhere": True, "breaks": True},
    (202, 203, 364, 439, 745): {"elsewhere": True, "pause": True, "penalty": True},
    (241, 425, 107): {"elsewhere": True, "attempts": 1},
    (216,): {"elsewhere": True},
    (225, 242, 999): {"elsewhere": True, "penalty": True, "no_writes": True},
    (265, 369, 519, 236): {"elsewhere": True, "penalty": True},
    (164,): {"elsewhere": True, "attempts": 1, "no_writes": True, "refused": True},
    (373,): {"here": True, "attempts": 1, "new_session": True},
    (252,): {"here": True, "attempts": 2, "pause": True},
    (159, 394, 735, 192, 193, 194, 497, 516, 60, 62, 1, 100000): {},
}


@pytest.mark.parametrize(("codes", "wanted"), TABLE.items(), ids=lambda each: str(each)[:40])
def test_the_table(codes: tuple[int, ...], wanted: dict[str, object]) -> None:
    plain = vars(FAILS)
    for code in codes:
        assert vars(rule_of(code)) == {**plain, **wanted}, code


def test_an_error_is_judged_by_its_code_then_by_the_wire() -> None:
    from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

    assert judge(DatabaseError("Code: 202, e.displayText() = ..."), broken=True) is rule_of(202)
    assert judge(OperationalError("connection reset"), broken=True) is TRANSPORT
    assert judge(OperationalError("connection reset"), broken=False) is None
    assert judge_connect(OSError("refused")) is judge_connect(None) is TRANSPORT
    assert judge_connect(DatabaseError("Code: 193, wrong password")) is FAILS
    # The borrower's own errors, even with a code, and cancels.
    own = ValueError("Code: 210")
    own.code = 210  # type: ignore[attr-defined]
    assert judge(own, broken=False) is None
    assert judge(KeyboardInterrupt(), broken=True) is None
    for mine in (TimeoutError(), ValueError("in the middle of an answer"), OSError("a file of mine")):
        assert judge(mine, broken=True) is None
    for wire in (ConnectionResetError(), EOFError(), OperationalError("read timed out")):
        assert judge(wire, broken=True) is TRANSPORT


# -- what a statement is


@pytest.mark.parametrize(
    ("sql", "read"),
    [
        ("SELECT 1", True),
        (" -- why\n# how\n/* INSERTED */ ((select 1))", True),
        ("WITH x AS (SELECT 1) SELECT * FROM x", True),
        ("SHOW TABLES", True),
        ("DESCRIBE t", True),
        ("EXISTS TABLE t", True),
        ("EXPLAIN SELECT 1", True),
        ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", False),
        ("SELECT 'INSERT'", True),
        ("INSERT INTO t SELECT 1", False),
        ("ALTER TABLE t DELETE WHERE 1", False),
        ("CREATE TABLE t AS SELECT 1", False),
        ("OPTIMIZE TABLE t", False),
        ("KILL QUERY WHERE 1", False),
        ("SELECTED", False),
        ("", False),
        (None, False),
    ],
)
def test_what_is_a_read(sql: object, read: bool) -> None:
    assert is_read(sql) is read


# -- attempts


def tries(*, read: bool = True, token: bool = False) -> Tries:
    return Tries(read=read, token=token, chance=lambda: 0.0)


def test_a_read_goes_from_node_to_node() -> None:
    driven = Driven(7)
    one = tries()
    for node in driven.list[: MOST_ATTEMPTS - 1]:
        assert one.after(node, TRANSPORT) == 0.0
    assert one.avoid == tuple(driven.list[: MOST_ATTEMPTS - 1])
    assert one.after(driven.list[-1], TRANSPORT) is None


def test_busy_pauses_and_longer_each_time() -> None:
    one = tries()
    assert [one.after(node, rule_of(202)) for node in Driven(3).list] == [0.05, 0.1, 0.2]


def test_once_elsewhere_is_once() -> None:
    first, second, third = Driven(3).list
    one = tries()
    assert one.after(first, rule_of(241)) == 0.0
    assert one.after(second, TRANSPORT) is None
    one = tries()
    assert one.after(first, TRANSPORT) == 0.0
    assert one.after(second, rule_of(425)) == 0.0
    assert one.after(third, rule_of(425)) is None


def test_a_locked_session_stays_with_another_session() -> None:
    node = Driven(1).list[0]
    one = tries()
    assert one.after(node, rule_of(373)) == 0.0
    assert one.only is node
    assert one.new_session
    assert not one.avoid
    assert one.after(node, rule_of(373)) is None


def test_too_many_parts_waits_where_it_is() -> None:
    node = Driven(1).list[0]
    one = tries(read=False, token=True)
    assert one.after(node, rule_of(252)) == 0.05
    assert one.only is node
    assert one.after(node, rule_of(252)) == 0.1
    assert one.after(node, rule_of(252)) is None


@pytest.mark.parametrize("code", [202, 209, 210, 241, 242, 252, 999])
def test_a_write_that_was_sent_is_not_repeated_without_a_token(code: int) -> None:
    node = Driven(1).list[0]
    assert tries(read=False).after(node, rule_of(code)) is None
    assert tries(read=False, token=True).after(node, rule_of(code)) is not None
    unsent = tries(read=False)
    unsent.sent = False
    assert unsent.after(node, rule_of(code)) is not None
    assert unsent.sent, "the next attempt begins as one that may have been sent"


def test_a_write_that_was_refused_goes_once_to_a_writer() -> None:
    first, second = Driven(2).list
    one = tries(read=False)
    assert one.after(first, rule_of(164)) == 0.0
    assert one.after(second, rule_of(164)) is None


def test_what_says_nothing_of_the_node_is_not_repeated() -> None:
    node = Driven(1).list[0]
    assert tries().after(node, None) is None
    assert tries().after(node, rule_of(62)) is None
    assert tries().after(None, TRANSPORT) is None


# -- routes


def test_a_route_tries_each_node_once_and_names_them_all() -> None:
    driven = Driven(2)
    route = Route(driven.nodes, 10.0, title="cluster 'c'")
    for _ in range(2):
        node, seconds = route.next()
        assert 9 < seconds <= 10
        failed = ConnectFailed("x")
        failed.__cause__ = OSError(f"refused by {node.name}")
        route.failed(node, failed, replaced=False)
    with pytest.raises(ConnectFailed, match="cluster 'c': cannot connect to any of 2 nodes") as caught:
        route.next()
    for node in driven.list:
        assert f"{node.name}: OSError: refused by {node.name}" in str(caught.value)


def test_a_route_waits_where_it_is_and_goes_on_when_the_pool_was_replaced() -> None:
    driven = Driven(2)
    route = Route(driven.nodes, 10.0)
    node, _ = route.next()
    with pytest.raises(PoolTimeout):
        route.failed(node, PoolTimeout("full"), replaced=False)
    with pytest.raises(PoolClosed):
        route.failed(node, PoolClosed("closed"), replaced=False)
    node.connect_failed(REFUSED, driven.now)
    route.failed(node, PoolClosed("closed"), replaced=True)
    other, _ = route.next()
    assert other is not node


def test_a_route_with_no_time_still_goes_to_every_node() -> None:
    driven = Driven(2)
    route = Route(driven.nodes, 0)
    node, seconds = route.next()
    assert seconds == 0
    route.failed(node, ConnectFailed("x"), replaced=False)
    assert route.next()[1] == 0


def test_a_route_to_one_node_only() -> None:
    driven = Driven(3)
    route = Route(driven.nodes, 1, only=driven.list[2])
    assert route.next()[0] is driven.list[2]
    only = ConnectFailed("x")
    route.failed(driven.list[2], only, replaced=False)
    with pytest.raises(ConnectFailed) as caught:
        route.next()
    assert caught.value is only
