"""Lock: what spins, what sleeps, and what is which on PREEMPT_RT.

The kind of the lock decides who may block. ``raw_spinlock`` always spins, on every kernel. ``spinlock`` and ``rwlock`` spin on a stock
kernel and sleep on PREEMPT_RT (``rtmutex.RtLock``, ``rwbase``). ``mutex``, ``rwsem``, ``semaphore``, ``completion`` and ``rtmutex.RtMutex``
take a ``task`` and sleep. Whatever pins its caller to a CPU returns that ``cpu``; after the unlock it is dead.

Where the kernel is configured with lockdep, ``sched.lockdep`` hears of every lock taken and given up; else it is None, and costs nothing.

| file | Linux |
| --- | --- |
| ``raw_spinlock.py`` | include/linux/spinlock_api_smp.h, kernel/locking/qspinlock.c |
| ``irq_variants.py`` | the irq, irqsave and bh variants of all that spins |
| ``spinlock.py`` | include/linux/spinlock.h, kernel/locking/spinlock_rt.c |
| ``rwlock.py``, ``rwbase.py`` | kernel/locking/qrwlock.c, rwbase_rt.c |
| ``seqlock.py``, ``local_lock.py`` | include/linux/seqlock.h, local_lock_internal.h |
| ``rtmutex.py`` | kernel/locking/rtmutex.c |
| ``mutex.py``, ``rwsem.py``, ``semaphore.py`` | kernel/locking/mutex.c with osq_lock.c, rwsem.c, semaphore.c |
| ``completion.py`` | kernel/sched/completion.c |
| ``spin.py`` | cpu_relax() |
| ``deadlock.py`` | the chain of owners, followed when a task is about to sleep |
| ``lockdep.py`` and its parts | kernel/locking/lockdep.c |

Lockdep's parts, each on the one before: ``lockdep_class`` (classes, edges, held locks), ``lockdep_graph`` (strong paths),
``lockdep_report`` (the text), ``lockdep_state`` (what is remembered), ``lockdep_usage`` (interrupts), ``lockdep_check`` (assertions),
``lockdep`` (taking and giving up), ``lockdep_cpu`` (the CPU that tells of its interrupts).
"""
