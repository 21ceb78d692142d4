"""Words to values and back (acceptance points 29, 30)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sungather.registers.catalogue import built_in
from sungather.registers.decoding import decode, decode_text, encode, scaled
from sungather.registers.register import DataType, Kind, Register

NUMBERS = {
    DataType.U16: (1, st.integers(0, 0xFFFE)),
    DataType.S16: (1, st.integers(-0x8000, 0x7FFE)),
    DataType.U32: (2, st.integers(0, 0xFFFFFFFE)),
    DataType.S32: (2, st.integers(-0x80000000, 0x7FFFFFFE)),
}
SCALES = [None, 0.1, 0.01, 0.001, 10, 100]


def register(data_type: DataType, words: int, **rest) -> Register:
    return Register("r", Kind.INPUT, 5000, data_type, 1, words=words, **rest)


@given(
    st.sampled_from(sorted(NUMBERS)).flatmap(
        lambda t: st.tuples(st.just(t), NUMBERS[t][1], st.sampled_from(SCALES))
    )
)
def test_what_is_encoded_decodes_to_the_same_number_for_every_type_and_scale(case):
    data_type, raw, scale = case
    which = register(data_type, NUMBERS[data_type][0], scale=scale)
    value = scaled(raw, scale)
    assert decode(which, encode(which, value)) == value


@pytest.mark.parametrize("data_type", NUMBERS)
def test_the_missing_marker_is_absent_and_never_zero(data_type):
    which = register(data_type, NUMBERS[data_type][0], scale=0.1)
    assert decode(which, encode(which, None)) is None


@pytest.mark.parametrize(
    ("data_type", "words"), [(DataType.S16, (0xFFFF,)), (DataType.S32, (0xFFFF, 0xFFFF))]
)
def test_minus_one_survives(data_type, words):
    assert decode(register(data_type, len(words)), words) == -1


def test_32_bit_values_have_their_low_word_first():
    assert decode(register(DataType.U32, 2), (0x5678, 0x1234)) == 0x12345678


@given(st.integers(0, 0xFFFE), st.integers(0, 15))
def test_a_mask_gives_one_or_zero(raw, bit):
    assert decode(register(DataType.U16, 1, mask=1 << bit), (raw,)) == (raw >> bit & 1)


@given(st.dictionaries(st.integers(0, 0xFFFE), st.text("abcdef", min_size=1), min_size=1))
def test_a_state_has_its_name_and_an_unknown_one_shows_its_number(states):
    which = register(DataType.U16, 1, states=states)
    for raw, name in states.items():
        assert decode(which, (raw,)) == name
    unknown = next(i for i in range(0xFFFF) if i not in states)
    assert f"0x{unknown:X}" in str(decode(which, (unknown,)))


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20))
def test_text_keeps_all_its_characters(text):
    which = register(DataType.TEXT, 10)
    assert decode(which, encode(which, text)) == text


@given(st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=20))
def test_no_text_crashes_whatever_its_bytes(words):
    text = decode_text(words)
    assert text is None or "\0" not in text


@pytest.mark.parametrize("padding", [0x0000, 0xFFFF])
def test_a_serial_of_eleven_characters_is_whole_and_without_padding(padding):
    words = [0x4132, 0x3239, 0x3031, 0x3132, 0x3334, 0x3500 | (padding & 0xFF)] + [padding] * 4
    assert decode_text(words) == "A2290112345"


def test_a_value_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        encode(register(DataType.U16, 1), 70000)
    with pytest.raises(ValueError, match="is not one of"):
        encode(register(DataType.U16, 1, states={1: "On"}), "Maybe")


def test_every_register_of_the_catalogue_round_trips_its_states():
    for which in built_in().registers:
        for raw, name in which.states.items():
            if which.bits:
                assert name in str(decode(which, ((1 << raw) & 0xFFFF, (1 << raw) >> 16)))
            elif which.words == 1:
                assert decode(which, (raw,)) == name


def test_two_bits_of_work_state_2_are_both_named():
    state = next(r for r in built_in().registers if r.name == "work_state_2")
    assert decode(state, (0b1, 0b10)) == "Run"
    assert decode(state, (0b11, 0)) == "Run, Stop"
