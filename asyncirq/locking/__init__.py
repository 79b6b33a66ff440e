"""Lock: what spins, what sleeps, and what is which on PREEMPT_RT.

The kind of the lock decides who may block. ``raw_spinlock`` always spins, on every kernel. ``spinlock`` spins on a stock
kernel and sleeps on PREEMPT_RT (``rtmutex.RtLock``). ``mutex``, ``semaphore``, ``completion`` and ``rtmutex.RtMutex`` take a
``task`` and sleep. Whatever pins its caller to a CPU returns that ``cpu``; after the unlock it is dead.

| file | Linux |
| --- | --- |
| ``raw_spinlock.py`` | include/linux/spinlock_api_smp.h, kernel/locking/qspinlock.c (here: tickets) |
| ``spinlock.py`` | include/linux/spinlock.h, kernel/locking/spinlock_rt.c |
| ``rtmutex.py`` | kernel/locking/rtmutex.c |
| ``mutex.py``, ``semaphore.py`` | kernel/locking/mutex.c, semaphore.c |
| ``completion.py`` | kernel/sched/completion.c |
| ``deadlock.py`` | the chain of owners, followed when a task is about to sleep |
"""
