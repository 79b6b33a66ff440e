from __future__ import annotations

import pytest

from asyncirq.errors import UsageError
from asyncirq.hw.ioapic_regs import RedirectionEntry


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (RedirectionEntry(vector=256), "redirection entry: vector 256 is not in 0..255"),
        (RedirectionEntry(delivery_mode=8), "redirection entry: delivery mode 8 is not in 0..7"),
        (RedirectionEntry(dest=-1), "redirection entry: dest -1 is not in 0..255"),
    ],
)
def test_fields_that_do_not_fit_are_refused(entry: RedirectionEntry, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        entry.encode()
