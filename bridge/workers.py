"""Pools of threads that run from the start, so that none is missing when it is needed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor


def started(threads: int, name: str) -> ThreadPoolExecutor:
    """Make a pool and start all of its threads; RuntimeError if the system refuses one.

    By itself a pool starts a thread when work comes, which fails when the process may have no
    more of them.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    gate = threading.Event()  # a pool starts no thread while another one of its own is idle
    try:
        for _ in range(threads):
            pool.submit(gate.wait)
    finally:
        gate.set()
    return pool
