"""Moments that are computed from others."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from crystallize._base.moments import after


@given(st.floats(0, 1e9), st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))
def test_a_later_moment(seconds: float, moment: datetime) -> None:
    """The moment is the sum, to a microsecond."""
    assert moment + timedelta(seconds=seconds) == after(moment, seconds)
