from __future__ import annotations

from asyncirq.analysis.cells import HEADLINE_FAMILIES, family
from asyncirq.analysis.quantities import describe, in_order, is_alternate
from tests.analysis.linux_captures import ALL, metrics


def test_label_keeps_everything_behind_the_first_colon() -> None:
    info = describe("entry_to_thread:ehci_hcd:usb1")
    assert (info.title, info.headline) == ("Interrupt to irq thread: ehci_hcd:usb1", True)
    assert describe("local_timer_to_TIMER").title == "Timer interrupt to TIMER"


def test_unknown_family_stands_for_itself_and_comes_last() -> None:
    assert describe("new_thing:x").title == "new_thing: x"
    assert in_order(["new_thing:x", "softirq_run:RCU", "entry_to_thread:b", "entry_to_thread:a", "softirq_run:RCU"]) == [
        "entry_to_thread:a",
        "entry_to_thread:b",
        "softirq_run:RCU",
        "new_thing:x",
    ]


def test_every_quantity_of_a_capture_has_a_definition() -> None:
    found = {quantity for name in ALL for quantity in metrics(name).pooled.quantities}
    assert [quantity for quantity in sorted(found) if not describe(quantity).definition] == []
    assert {family(quantity) for quantity in found if is_alternate(quantity)}.isdisjoint(HEADLINE_FAMILIES)
