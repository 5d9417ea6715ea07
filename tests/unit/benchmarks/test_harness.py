from __future__ import annotations

import subprocess
import sys
import time

import pytest
from benchmarks.speed.harness import (
    Contender,
    Cost,
    Part,
    StageClock,
    Summary,
    fitted_exponent,
    ratios,
    run_rounds,
)
from benchmarks.speed.machine import load_warning, peak_memory_bytes


def test_every_round_runs_each_contender_once_in_rotated_order() -> None:
    order: list[str] = []
    contenders = [
        Contender(name, lambda clock, name=name: order.append(name), warm_up=lambda: None)
        for name in "abc"
    ]
    costs = run_rounds(contenders, num_rounds=4)
    assert order == ["a", "b", "c", "b", "c", "a", "c", "a", "b", "a", "b", "c"]
    assert {name: len(found) for name, found in costs.items()} == {"a": 4, "b": 4, "c": 4}


def test_a_run_without_a_warm_up_of_its_own_is_run_once_more() -> None:
    runs: list[int] = []
    run_rounds([Contender("a", lambda clock: runs.append(1))], num_rounds=2)
    assert len(runs) == 3


def test_parts_are_sums_of_the_stages_of_their_own_contender() -> None:
    def run(clock: StageClock) -> None:
        for number in range(3):
            with clock.stage(f"sleep {number}"):
                time.sleep(0.02)
        with clock.stage("rest"):
            time.sleep(0.1)

    costs = run_rounds(
        [Contender("whole", run)],
        [Part("some", "whole", lambda stage: stage in ("sleep 0", "sleep 2"))],
        num_rounds=1,
    )
    (some,), (whole,) = costs["some"], costs["whole"]
    assert 0.04 <= some.wall_seconds < 0.1
    assert whole.wall_seconds >= 0.16
    assert some.cpu_seconds < 0.03  # it slept


def test_cpu_time_counts_children_that_were_waited_for() -> None:
    code = "import time\nwhile time.process_time() < 0.3: pass"

    def run(clock: StageClock) -> None:
        subprocess.run([sys.executable, "-c", code], check=True)

    (cost,) = run_rounds([Contender("child", run, warm_up=lambda: None)], num_rounds=1)["child"]
    assert cost.cpu_seconds >= 0.3


@pytest.mark.parametrize(
    ("contenders", "parts"),
    [
        ([], []),
        ([Contender("a", print), Contender("a", print)], []),
        ([Contender("a", print)], [Part("b", "c", bool)]),
    ],
    ids=["none", "twice", "lost"],
)
def test_rounds_that_mean_nothing_are_refused(
    contenders: list[Contender], parts: list[Part]
) -> None:
    with pytest.raises(ValueError, match=r"expected different names|do not run"):
        run_rounds(contenders, parts)


def test_a_part_without_a_stage_is_refused_rather_than_free() -> None:
    contender = Contender("a", lambda clock: None)
    with pytest.raises(ValueError, match="no stage of a"):
        run_rounds([contender], [Part("b", "a", lambda stage: True)], num_rounds=1)


def test_ratios_are_taken_within_a_round() -> None:
    # The machine is twice as slow in the second round: the ratio is not.
    slow = [Cost(4, 2), Cost(8, 4), Cost(6, 9)]
    fast = [Cost(2, 1), Cost(4, 2), Cost(2, 3)]
    found = ratios(slow, fast)
    assert found["cpu"] == Summary(2.0, 2.0, 3.0, 2.0, 2.5, 3)
    assert found["wall"] == Summary(2.0, 2.0, 3.0, 2.0, 2.5, 3)
    with pytest.raises(ValueError, match="argument"):
        ratios(slow, fast[:2])


def test_summary_has_the_quartiles_of_numpy() -> None:
    numpy = pytest.importorskip("numpy")
    values = [3.0, 1.0, 7.5, 2.0, 11.0]
    found = Summary.of(values)
    expected = numpy.percentile(values, [25, 50, 75])
    assert [found.first_quartile, found.median, found.third_quartile] == expected.tolist()
    assert (found.minimum, found.maximum, found.count) == (1.0, 11.0, 5)
    assert Summary(**found.to_dict()) == found
    with pytest.raises(ValueError, match="finite"):
        Summary.of([1.0, float("nan")])


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.5, 2.0])
def test_exponent_of_a_power_law(exponent: float) -> None:
    sizes = [8, 16, 32, 64]
    values = [0.3 * size**exponent for size in sizes]
    assert fitted_exponent(sizes, values) == pytest.approx(exponent)
    with pytest.raises(ValueError, match="two points"):
        fitted_exponent([8, 8], [1.0, 2.0])


def test_peak_memory_is_that_of_the_process_not_of_its_parent() -> None:
    held = bytearray(300_000_000)
    held[::4096] = b"x" * len(held[::4096])
    code = "from benchmarks.speed.machine import peak_memory_bytes as peak; print(peak())"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert peak_memory_bytes() > 300_000_000
    assert 1_000_000 < int(done.stdout) < 100_000_000
    assert len(held) == 300_000_000


def test_others_at_work_are_noticed() -> None:
    assert load_warning(0.2, own=0) is None
    assert load_warning(2.3, own=2) is None
    assert "others" in (load_warning(1.4, own=0) or "")
