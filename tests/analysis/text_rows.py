"""Small ftrace texts for tests."""

from __future__ import annotations

from typing import Final

LEGEND_5: Final = """\
# tracer: nop
#
# entries-in-buffer/entries-written: 6/6   #P:2
#
#                                _-----=> irqs-off/BH-disabled
#                               / _----=> need-resched
#                              | / _---=> hardirq/softirq
#                              || / _--=> preempt-depth
#                              ||| / _-=> migrate-disable
#                              |||| /     delay
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
"""
LEGEND_4: Final = """\
# tracer: nop
#
#                              _-----=> irqs-off
#                             / _----=> need-resched
#                            | / _---=> hardirq/softirq
#                            || / _--=> preempt-depth
#                            ||| /     delay
#           TASK-PID   CPU#  ||||    TIMESTAMP  FUNCTION
"""
LEGEND_7: Final = """\
# tracer: nop
#
#                                _-------=> irqs-off/BH-disabled
#                               / _------=> need-resched
#                              | / _-----=> need-resched-lazy
#                              || / _----=> hardirq/softirq
#                              ||| / _---=> preempt-depth
#                              |||| / _--=> preempt-lazy-depth
#                              ||||| / _-=> migrate-disable
#                              |||||| /     delay
"""
ROWS: Final = """\
          <idle>-0       [000] d.h1.    10.000001: irq_handler_entry: irq=21 name=eth0
          <idle>-0       [000] d.h1.    10.000003: softirq_raise: vec=3 [action=NET_RX]
          <idle>-0       [000] d.h1.    10.000004: irq_handler_exit: irq=21 ret=handled
          <idle>-0       [000] ..s1.    10.000006: softirq_entry: vec=3 [action=NET_RX]
          <idle>-0       [000] dNs2.    10.000008: sched_waking: comm=my-task 1 pid=77 prio=120 target_cpu=001
          <idle>-0       [000] d..2.    10.000010: sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=my-task 1 next_pid=77 next_prio=120
"""  # noqa: E501
GOOD: Final = LEGEND_5 + ROWS
