"""Does everything that differs between devices ask the table of abilities, and does an Apple GPU
get the right row?

No test machine has CUDA or MPS: a CPU is told to claim their abilities, and torch's device calls
are replaced."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch

from pointer import mixer, select
from workflow.bench.cell import Cell, Device
from workflow.bench.measure import devices, memory, timing
from workflow.bench.outcomes import Unsupported
from workflow.bench.rows import provenance

CPU = torch.device("cpu")
Claim = Callable[..., list[str]]


@pytest.fixture
def claim(monkeypatch: pytest.MonkeyPatch) -> Claim:
    """Gives the CPU another kind's abilities; returns the list of what was waited for."""

    def replace(kind: str, **more: Any) -> list[str]:
        waited: list[str] = []
        own = {"present": lambda: True, "synchronise": lambda: waited.append(kind)}
        can = dataclasses.replace(devices.ABILITIES[kind], **own | more)
        monkeypatch.setitem(devices.ABILITIES, "cpu", can)
        return waited

    return replace


def test_every_device_of_the_settings_has_abilities() -> None:
    assert set(devices.ABILITIES) == set(get_args(Device))


def test_an_absent_device_is_unsupported_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = dataclasses.replace(devices.ABILITIES["mps"], present=lambda: False)
    monkeypatch.setitem(devices.ABILITIES, "mps", absent)
    with pytest.raises(Unsupported, match="device 'mps' is absent"):
        devices.resolve("mps")


def test_an_apple_gpu_is_timed_by_the_hosts_clock_idle_on_both_sides(claim: Claim) -> None:
    waited = claim("mps")
    seen: list[int] = []
    assert devices.seconds(CPU, lambda: seen.append(len(waited))) >= 0
    assert seen == [1]
    assert waited == ["mps", "mps"]


def test_cuda_is_timed_by_its_own_events(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            order.append("record")

        def synchronize(self) -> None:
            order.append("wait")

        def elapsed_time(self, other: Event) -> float:
            return 250.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    waited = claim("cuda")
    assert devices.seconds(CPU, lambda: order.append("work")) == 0.25
    assert waited == ["cuda"]
    assert order == ["record", "work", "record", "wait"]


def test_a_cell_runs_through_on_an_apple_gpu_by_the_table(
    claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = claim("mps")
    monkeypatch.setattr(select, "fused_select", lambda device: None)  # what mps gets: plain torch
    monkeypatch.setattr(mixer, "FusedMixer", None)
    cell = Cell.of("efficiency", "pointer", length=40, batch=2, session_seconds=0, threads=1)
    (row,) = timing.efficiency([cell], lambda done, **values: None, lambda at: None)
    assert row["step_ms"] > 0
    assert len(waited) > 10


def test_peak_memory_of_an_apple_gpu_is_sampled_and_labelled_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = iter([100, 100, *[900] * 10**6])
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: next(held))
    found = memory.peak(torch.device("mps"), lambda: None)
    assert "sampled" in found.method
    assert found.bytes is not None
    assert 0 <= found.bytes <= 800


def test_the_cpus_name_does_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cpuinfo", None)
    provenance.cpu_name.cache_clear()
    assert provenance.cpu_name()
    provenance.cpu_name.cache_clear()
