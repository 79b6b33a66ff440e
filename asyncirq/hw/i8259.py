"""Model the 8259A interrupt controller: eight requests, one output, priorities that rotate.

``i8259_pair.py`` joins two of them as in a PC. Ports are those of the chip: 0 (commands, IRR, ISR, poll) and 1 (IMR, the
initialisation words after the first).

| word | bits |
| --- | --- |
| ICW1 | 4 marks it; 3 every input level-triggered; 1 single; 0 ICW4 follows |
| ICW2 | 7:3 first vector |
| ICW3 | which inputs have a second chip, or its number |
| ICW4 | 4 special fully nested; 1 automatic EOI; 0 8086 |
| OCW1 | IMR |
| OCW2 | 7 rotate, 6 specific, 5 EOI; 2:0 level |
| OCW3 | 3 marks it; 6:5 special mask; 2 poll; 1:0 read IRR or ISR |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

ICW1: Final = 0x10
ICW1_ICW4: Final = 0x01
ICW1_SINGLE: Final = 0x02
ICW1_LEVEL: Final = 0x08
ICW4_AUTO_EOI: Final = 0x02
ICW4_SPECIAL_NESTED: Final = 0x10
OCW3: Final = 0x08
OCW3_SPECIAL_MASK: Final = 0x60
OCW3_POLL: Final = 0x04
OCW3_READ: Final = 0x02
EOI: Final = 1
SPECIFIC_EOI: Final = 3
ROTATE: Final = 4
SET_PRIORITY: Final = 6
SPURIOUS_INPUT: Final = 7
"""What the chip names when it is asked and nobody requests any more."""
POLL_PENDING: Final = 0x80
POLL_NOTHING: Final = 0x07


class I8259:
    """One chip. ``slaves`` are the inputs that a second chip requests on, which special fully nested mode treats apart.

    ``out`` is derived: something unmasked requests with a higher priority than what is in service; ``on_output()`` is called when it
    changed. ``ready`` says that initialisation is complete, ``elcr_writable`` which inputs may be level-triggered one by one.
    ``latched`` False drops a request whose edge-triggered input is withdrawn before the acknowledge, as the data sheet has it;
    True keeps it, as most chipsets do. ``cause[n]`` is that of the request at input ``n``, ``coalesced[n]`` how many came
    while it was pending. ``on_request(n)`` and ``on_eoi(n)`` tell of a new request that is not masked, and of an EOI.

    Linux: arch/x86/kvm/i8259.c models the same chip. It lets lower inputs interrupt a second chip's in special fully nested mode, the
    data sheet does not.
    """

    def __init__(self, name: str, *, slaves: int = 0, elcr_writable: int = 0, latched: bool = True) -> None:
        self.name = name
        self.slaves = slaves
        self.elcr_writable = elcr_writable
        self.latched = latched
        self.on_output: Callable[[], None] = _nothing
        self.on_request: Callable[[int], None] = _no_pin
        self.on_eoi: Callable[[int], None] = _no_pin
        self.out = False
        self.irr = self.isr = self.imr = 0
        self.elcr = 0
        self.wires = 0
        self.base = 0
        self.rotation = 0
        self.ready = False
        self.single = False
        self.level = False
        self.auto_eoi = False
        self.rotate_on_auto_eoi = False
        self.special_nested = False
        self.special_mask = False
        self.poll = False
        self.read_isr = False
        self.cause = [0] * 8
        self.coalesced = [0] * 8
        self._step = 0
        self._wants_icw4 = False

    # --- decide

    def rank(self, mask: int) -> int:
        """Return the priority of the first input in ``mask``, 0 being the highest; 8 when it is empty."""
        for rank in range(8):
            if mask >> (rank + self.rotation & 7) & 1:
                return rank
        return 8

    def request(self) -> int:
        """Return the input that is to be served next, -1 for none.

        What is in service holds back its own priority and those below; special mask lets masked inputs in service hold back
        nothing, special fully nested lets a second chip request again for something higher of its own, and nothing below it.
        """
        wanted = self.rank(self.irr & ~self.imr)
        if wanted == 8 or not self.ready:
            return -1
        holds = self.isr
        if self.special_mask:
            holds &= ~self.imr
        number = wanted + self.rotation & 7
        top = self.rank(holds)
        again = wanted == top and self.special_nested and self.slaves >> number & 1
        return number if wanted < top or again else -1

    def _is_level(self, number: int) -> bool:
        return self.level or bool(self.elcr >> number & 1)

    # --- recompute

    def _recompute(self) -> None:
        out = self.request() >= 0
        if out is not self.out:
            self.out = out
            self.on_output()

    # --- inputs

    def set_input(self, number: int, high: bool, cause: int = 0) -> None:
        """Take over the level of an input: a rising edge is latched in IRR, a level-triggered request follows its wire."""
        bit = 1 << number
        was = bool(self.wires & bit)
        if high:
            self.wires |= bit
            if self.irr & bit and not was:
                self.coalesced[number] += 1
            elif self._is_level(number) or not was:
                self._latch(number, cause)
        else:
            self.wires &= ~bit
            if self._is_level(number) or not self.latched:
                self.irr &= ~bit
        self._recompute()

    def _latch(self, number: int, cause: int) -> None:
        bit = 1 << number
        if self.irr & bit:
            return
        self.irr |= bit
        self.cause[number] = cause
        self.coalesced[number] = 0
        if self.ready and not self.imr & bit:
            self.on_request(number)

    def write_elcr(self, value: int) -> None:
        """Choose edge or level for each input; some are edges for good."""
        self.elcr = value & self.elcr_writable
        self._recompute()

    # --- acknowledge

    def acknowledge(self) -> int:
        """Answer an acknowledge cycle: the input goes into service, ``SPURIOUS_INPUT`` with nothing changed if there is none.

        An edge leaves IRR; a level stays there as long as its wire asks.
        """
        number = self.request()
        if number < 0:
            return -1
        bit = 1 << number
        if not self._is_level(number):
            self.irr &= ~bit
        self.coalesced[number] = 0
        if not self.auto_eoi:
            self.isr |= bit
        elif self.rotate_on_auto_eoi:
            self.rotation = number + 1 & 7
        self._recompute()
        return number

    # --- bus

    def read(self, port: int) -> int:
        """Read IRR or ISR from port 0, IMR from port 1; after a poll command either is the poll's answer, and an acknowledge."""
        if self.poll:
            self.poll = False
            number = self.acknowledge()
            return POLL_NOTHING if number < 0 else POLL_PENDING | number
        if port:
            return self.imr
        return self.isr if self.read_isr else self.irr

    def write(self, port: int, value: int) -> None:
        """Write a command or initialisation word."""
        value &= 0xFF
        if port == 0:
            if value & ICW1:
                self._initialise(value)
            elif value & OCW3:
                self._ocw3(value)
            else:
                self._ocw2(value >> 5, value & 7)
        elif self._step == 0:
            opened = self.irr & self.imr & ~value
            self.imr = value
            for number in range(8):
                if opened >> number & 1:
                    self.on_request(number)
        elif self._step == 2:
            self.base = value & 0xF8
            self._step = 3
            if self.single:
                self._next_after_icw3()
        elif self._step == 3:
            self._next_after_icw3()
        else:
            self.special_nested = bool(value & ICW4_SPECIAL_NESTED)
            self.auto_eoi = bool(value & ICW4_AUTO_EOI)
            self._finish()
        self._recompute()

    def _initialise(self, value: int) -> None:
        """Begin the initialisation: the edge detectors start over, so that an input must rise again; levels ask at once."""
        self.level = bool(value & ICW1_LEVEL)
        self.single = bool(value & ICW1_SINGLE)
        self._wants_icw4 = bool(value & ICW1_ICW4)
        self.isr = self.imr = self.rotation = 0
        self.irr = self.wires & (0xFF if self.level else self.elcr)
        self.special_mask = self.poll = self.read_isr = self.rotate_on_auto_eoi = False
        self.special_nested = self.auto_eoi = False
        self.ready = False
        self._step = 2

    def _next_after_icw3(self) -> None:
        if self._wants_icw4:
            self._step = 4
        else:
            self._finish()

    def _finish(self) -> None:
        self._step = 0
        self.ready = True

    def _ocw2(self, command: int, number: int) -> None:
        if command & ~ROTATE == 0:
            self.rotate_on_auto_eoi = bool(command)
        elif command == SET_PRIORITY:
            self.rotation = number + 1 & 7
        elif command & EOI:
            if command & ~ROTATE == EOI:
                rank = self.rank(self.isr & ~self.imr if self.special_mask else self.isr)
                if rank == 8:
                    return
                number = rank + self.rotation & 7
            if self.isr >> number & 1:
                self.isr &= ~(1 << number)
                self.on_eoi(number)
            if command & ROTATE:
                self.rotation = number + 1 & 7

    def _ocw3(self, value: int) -> None:
        if value & OCW3_POLL:
            self.poll = True
        if value & OCW3_READ:
            self.read_isr = bool(value & 1)
        if value & 0x40:
            self.special_mask = value & OCW3_SPECIAL_MASK == OCW3_SPECIAL_MASK

    def __repr__(self) -> str:
        return f"<I8259 {self.name}>"


def _nothing() -> None:
    """Stand in for ``on_output`` until the output is wired."""


def _no_pin(number: int) -> None:
    """Stand in for whoever wants to hear of requests and EOIs."""
