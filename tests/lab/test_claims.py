"""Bars: what clears them."""

from __future__ import annotations

from ncollapse.lab.claims import Bar


def test_the_last_digits_of_a_float_are_no_miss() -> None:
    assert Bar(low=0.9).clears(0.8999999999999998) and Bar(high=-0.9).clears(-0.8999999999999998)
    assert not Bar(low=0.9).clears(0.8999999999) and not Bar(high=0.0).clears(1e-300)
    assert Bar(low=0.0).clears(0.0) and not Bar(low=0.0).clears(-1e-300)
