"""Hold the pools of a machine, and join workqueues to them.

A bound workqueue uses the pool of its nice value on each CPU. An unbound one uses pools by attributes: nice value and CPU
mask, one pool for each pod (CPUs that share a cache or a node) that the mask touches; workqueues of equal attributes share
pools. An ordered one has a single pool for its whole mask.

Linux: kernel/workqueue.c alloc_and_link_pwqs(), get_unbound_pool(), wq_update_node_max_active(). Model: pods are given, not
found out; a pod is its own node, so ``max_active`` is shared out among pods, each getting at least ``min_active``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from asyncirq.bottom_half.worker import Worker
from asyncirq.bottom_half.worker_manager import Manager
from asyncirq.bottom_half.workqueue_api import HIGHPRI_NICE, WQ_DFL_MIN_ACTIVE, WQ_FREEZABLE, WQ_ORDERED, Workqueue, Workqueues
from asyncirq.bottom_half.workqueue_pool import PoolWorkqueue, WorkerPool
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.core import Sched

if TYPE_CHECKING:
    from asyncirq.bottom_half.sleep import Sleep
    from asyncirq.bottom_half.workqueue_bh import BhWorkqueues


def memory_is_free(pool: WorkerPool) -> bool:
    """Tell that a worker can be made, whichever pool asks."""
    return True


class ManagedState(Workqueues):
    """The pools and workqueues of one machine.

    ``pools`` are those served by threads, ``bh`` those served in softirqs (None without them). ``can_create(pool)`` says
    whether there is memory for another worker; an experiment replaces it. ``pods`` are CPU masks, ``online`` is the mask of the CPUs
    that workqueues may use.
    """

    def __init__(self, sched: Sched, sleep: Sleep | None = None, bh: BhWorkqueues | None = None) -> None:
        super().__init__(sched, sleep)
        self.bh = bh
        rest = sched.all_cpus & ~sum(sched.config.wq_pods)
        self.pods = tuple(mask for mask in (*sched.config.wq_pods, rest) if mask & sched.all_cpus)
        self.can_create: Callable[[WorkerPool], bool] = memory_is_free
        self.pools: list[WorkerPool] = []
        self.freezing = False
        self.online = sched.all_cpus
        self.booted = False
        self._pool_ids = 0
        self._unbound: dict[tuple[int, int], WorkerPool] = {}
        self._warned: set[str] = set()
        for cpu in sched.cpus:
            if bh is not None:
                for bh_pool in bh.make_pools(cpu.id, self._pool_ids):
                    bh_pool.upkeep = Manager(bh_pool, self)
                    self._pool_ids += 1
            for nice in (0, HIGHPRI_NICE):
                self._new_pool(cpu.id, nice, 0)

    # --- pools

    def _new_pool(self, cpu: int, nice: int, mask: int) -> WorkerPool:
        pool = WorkerPool(self.sched, self._pool_ids, cpu, nice, mask)
        self._pool_ids += 1
        pool.upkeep = Manager(pool, self)
        self.pools.append(pool)
        if self.booted:
            self._first_worker(pool)
        return pool

    def _first_worker(self, pool: WorkerPool) -> None:
        if not pool.workers:
            self._start_now(Worker(pool).task)

    def bound_pool(self, cpu: int, nice: int) -> WorkerPool:
        """Return the pool of a CPU and a nice value."""
        return self.pools[2 * cpu + (nice < 0)]

    def _unbound_pool(self, nice: int, mask: int) -> WorkerPool:
        pool = self._unbound.get((nice, mask))
        if pool is None:
            pool = self._unbound[nice, mask] = self._new_pool(-1, nice, mask)
        return pool

    async def _put_pool(self, cpu: Cpu, pool: WorkerPool) -> None:
        pool.refs -= 1
        if not pool.refs:
            self.pools.remove(pool)
            del self._unbound[pool.nice, pool.mask]
            await pool.upkeep.dismiss_all(cpu)

    # --- joints

    def _link(self, wq: Workqueue) -> None:
        """Make the joints of a workqueue to its pools, one for each CPU; those of one pod are the same."""
        cpus = self.sched.cpus
        if not wq.unbound:
            wq.pwqs = [PoolWorkqueue(self.bound_pool(cpu.id, wq.nice), wq, wq.max_active) for cpu in cpus]
        else:
            made: dict[int, PoolWorkqueue] = {}
            wq.pwqs = []
            for cpu in cpus:
                mask = self._pod_of(wq, cpu.id)
                pwq = made.get(mask)
                if pwq is None:
                    pool = self._unbound_pool(wq.nice, mask)
                    pool.refs += 1
                    pwq = made[mask] = PoolWorkqueue(pool, wq, self._share(wq, mask))
                wq.pwqs.append(pwq)
        for pwq in self.joints(wq):
            self._set_limit(pwq)

    def _pod_of(self, wq: Workqueue, cpu: int) -> int:
        mask = wq.mask & self.online or self.online
        if not wq.flags & WQ_ORDERED:
            for pod in self.pods:
                if pod >> cpu & 1 and pod & mask:
                    return pod & mask
        return mask

    def _share(self, wq: Workqueue, mask: int) -> int:
        most = wq.max_active
        if not wq.unbound:
            return most
        share = -(-most * mask.bit_count() // wq.mask.bit_count())
        return min(max(share, min(WQ_DFL_MIN_ACTIVE, most)), most)

    def joints(self, wq: Workqueue) -> list[PoolWorkqueue]:
        """Return the joints of a workqueue, each once, the retired ones first."""
        found = list(wq.old_pwqs)
        for pwq in wq.pwqs:
            if pwq not in found:
                found.append(pwq)
        return found

    def _set_limit(self, pwq: PoolWorkqueue) -> None:
        frozen = self.freezing and pwq.wq.flags & WQ_FREEZABLE
        pwq.limit = 0 if frozen or pwq.plugged else pwq.share

    async def _adjust(self, cpu: Cpu, wq: Workqueue) -> None:
        """Let every joint take on what its limit allows now. Trace: workqueue_activate_work, sched_waking."""
        for pwq in self.joints(wq):
            self._set_limit(pwq)
            if pwq.activate_all(cpu):
                await pwq.pool.kick(cpu)

    async def settle(self, cpu: Cpu, pwq: PoolWorkqueue) -> None:
        """Do what the end of an item allows: end a flush, drop a joint that was replaced. Interrupts are off. Trace: sched_waking."""
        wq = pwq.wq
        if wq.flushing >= 0 and not wq.in_flight[wq.flushing]:
            wq.flushing = -1
            assert wq.first_flusher is not None
            await wq.first_flusher.done.complete(cpu)
        if pwq.retired and pwq.is_empty and pwq in wq.old_pwqs:
            wq.old_pwqs.remove(pwq)
            oldest = wq.old_pwqs[0] if wq.old_pwqs else wq.pwqs[0]
            if oldest.plugged:
                oldest.plugged = False
                await self._adjust(cpu, wq)
            await self._put_pool(cpu, pwq.pool)

    def warn_once(self, cpu: Cpu, text: str, key: str) -> None:
        """Print a warning, the first time only. Trace: printk."""
        trace = self.sched.trace
        if trace is not None and key not in self._warned:
            self._warned.add(key)
            trace.printk(cpu, 4, text)
