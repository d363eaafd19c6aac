"""Starting a thread so that a signal handler's exception cannot come between.

``threading.Thread.start`` waits for a condition of the new thread, in Python. An exception that a signal handler
raises in the middle of that may leave the condition's lock held for ever: then the new thread, which needs it to say
that it runs, never does. Handlers run in the main thread only, so the whole of ``start`` is done in a raw thread, and
starting that one is a single call into C, which has worked or not.
"""

from __future__ import annotations

import _thread
import threading

__all__ = ["start"]


def start(thread: threading.Thread, wait: bool = False) -> None:
    """Start *thread*. Cut short by a signal handler, it is started nevertheless, or not at all.

    Args:
        thread: It need not be a daemon, though only with *wait* the interpreter is sure to wait for its end.
        wait: Return only when the interpreter knows the thread.

    Raises:
        RuntimeError: No thread can be started: the system is at its limit, or the interpreter ends.
    """
    known = _thread.allocate_lock()
    known.acquire()
    # Looked up now, since gevent replaces it.
    _thread.start_new_thread(_start, (thread, known))
    if wait:
        known.acquire()


def _start(thread: threading.Thread, known: _thread.LockType) -> None:
    try:
        thread.start()
    except RuntimeError:
        # There was room for one more thread and not for two: this one does the work.
        thread.run()
    finally:
        known.release()
