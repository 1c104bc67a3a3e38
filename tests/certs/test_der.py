"""Our encodings are those of another encoder, and what we cut is what was put together."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyasn1.codec.der import decoder, encoder
from pyasn1.type import univ, useful

from certs import der

arcs = st.integers(min_value=0, max_value=1 << 128)
oids = st.builds(
    lambda first, second, rest: ".".join(map(str, (first, second if first == 2 else second % 40, *rest))),
    st.integers(0, 2),
    arcs,
    st.lists(arcs, max_size=8),
)
moments = st.datetimes(
    min_value=dt.datetime(1950, 1, 1),
    max_value=dt.datetime(9999, 12, 30),
    timezones=st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=8))]),
)


@given(st.integers(-(1 << 200), 1 << 200))
def test_integers_are_der(value):
    """X.690 section 8.3.2: the first nine bits are not all alike. (pyasn1 writes -128 in two octets.)"""
    encoded = der.integer(value)
    content = encoded[2:]
    assert int.from_bytes(content, "big", signed=True) == value
    assert len(content) == 1 or int.from_bytes(content[:2], "big") >> 7 not in {0, 0x1FF}
    if value >= 0:
        assert encoded == encoder.encode(univ.Integer(value))


@given(oids)
def test_oids_are_der(dotted):
    assert der.oid(dotted) == encoder.encode(univ.ObjectIdentifier(dotted))


@given(st.binary(max_size=70_000) | st.integers(0, 1 << 17).map(bytes))
def test_strings_are_der(content):
    assert der.octets(content) == encoder.encode(univ.OctetString(content))
    assert der.bits(content) == encoder.encode(univ.BitString.fromOctetString(content))
    assert der.content(der.octets(content)) == content


@given(st.lists(st.binary(max_size=300).map(der.octets), max_size=20))
def test_parts_are_what_was_put_together(elements):
    assert der.parts(der.sequence(*elements)) == elements


@given(moments)
def test_times_say_the_same_second_in_utc(moment):
    read, rest = decoder.decode(der.generalized_time(moment))
    assert (rest, read.asDateTime.replace(tzinfo=dt.UTC)) == (b"", moment.astimezone(dt.UTC).replace(microsecond=0))
    short, rest = decoder.decode(der.time(moment))
    assert isinstance(short, useful.UTCTime) is (moment.astimezone(dt.UTC).year < 2050)
    if moment.astimezone(dt.UTC).year < 2050:
        year = int(str(short)[:2])
        assert year + (2000 if year < 50 else 1900) == moment.astimezone(dt.UTC).year


@pytest.mark.parametrize("encode", [der.time, der.generalized_time])
def test_times_without_zone_are_refused(encode):
    with pytest.raises(ValueError, match="zone"):
        encode(dt.datetime(2026, 1, 1))


def test_times_before_1950_have_no_encoding():
    with pytest.raises(ValueError, match="1950"):
        der.time(dt.datetime(1949, 12, 31, tzinfo=dt.UTC))


@pytest.mark.parametrize(
    ("moment", "encoded"),
    [
        (dt.datetime(2049, 12, 31, 23, 59, 59, tzinfo=dt.UTC), b"\x17\x0d491231235959Z"),
        (dt.datetime(2050, 1, 1, tzinfo=dt.UTC), b"\x18\x0f20500101000000Z"),
        (dt.datetime(2050, 1, 1, 7, 59, 59, tzinfo=dt.timezone(dt.timedelta(hours=8))), b"\x17\x0d491231235959Z"),
    ],
)
def test_year_2050_is_written_in_full(moment, encoded):
    """RFC 5280 section 4.1.2.5."""
    assert der.time(moment) == encoded
