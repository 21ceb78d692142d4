"""The read plan (acceptance point 31)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sungather.registers.catalogue import built_in
from sungather.registers.plan import ASK_AGAIN_AFTER, AdaptivePlan, plan
from sungather.registers.register import DataType, Kind, Register
from sungather.registers.selection import select

CATALOGUE = built_in()
registers = st.builds(
    lambda kind, address, words: Register("r", kind, address, DataType.TEXT, 1, words=words),
    st.sampled_from(list(Kind)),
    st.integers(1, 2000),
    st.integers(1, 15),
)


def check(reads, wanted, limit):
    for read in reads:
        assert 1 <= read.count <= limit
    for register in wanted:
        inside = [
            r
            for r in reads
            if r.kind == register.kind
            and r.address <= register.address
            and register.end <= r.address + r.count
        ]
        assert inside, f"{register} is not covered whole by one read"


@given(st.lists(registers, min_size=1, max_size=60), st.sampled_from([16, 123, 125]))
def test_a_plan_covers_every_register_and_splits_no_value(wanted, limit):
    check(plan(wanted, max_words=limit), wanted, limit)


@pytest.mark.parametrize("limit", [123, 125])
@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize("code", [0x0E03, 0x0D0F, 0x2433, 0x2C06, 0x0E99])
def test_every_model_and_level_has_a_plan_within_the_limit(code, level, limit):
    chosen = select(CATALOGUE.registers, CATALOGUE.device(code), level=level, smart_meter=True)
    check(plan(chosen, max_words=limit), chosen, limit)


def test_a_three_phase_hybrid_at_level_two_needs_few_reads():
    chosen = select(CATALOGUE.registers, CATALOGUE.device(0x0E03), level=2, smart_meter=False)
    assert len(plan(chosen, max_words=125)) <= 16


@settings(max_examples=60)
@given(st.data())
def test_whatever_an_inverter_refuses_the_rest_is_still_read(data):
    wanted = data.draw(st.lists(registers, min_size=1, max_size=25))
    refused = data.draw(st.sets(st.integers(1, 2000), max_size=8))
    adaptive = AdaptivePlan(wanted, 125)

    def refuses(read):
        return any(a in refused for a in range(read.address, read.address + read.count))

    got: set[Register] = set()
    queue, asked = adaptive.reads(0.0), 0
    while queue:
        asked += 1
        assert asked < 500
        read = queue.pop(0)
        if refuses(read):
            queue = adaptive.on_refusal(read, 0.0) + queue
        else:
            adaptive.on_answer(read)
            got.update(read.registers)
    for register in wanted:
        own = range(register.address, register.end)
        overlapping = any(
            o is not register
            and o.kind == register.kind
            and o.address < register.end
            and register.address < o.end
            for o in wanted
        )
        if not any(a in refused for a in own) and not overlapping:
            assert register in got
    again = adaptive.reads(1.0)
    assert not any(refuses(read) for read in again), "what was refused is not asked for again at once"
    if adaptive.refused:
        later = adaptive.reads(ASK_AGAIN_AFTER + 1)
        assert len(later) > len(again), "but it is after a while"
