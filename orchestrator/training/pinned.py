"""Page-locked memory of the host for what is offloaded: a GPU copies it without a detour.

torch's allocator of such memory takes the next power of two, 140 GB instead of 121 for the states
of seven billion weights. DeepSpeed's own takes exact sizes by `mlock`. It ends the process where
that is refused, so the limit is asked first; and it is C++, compiled when a machine first needs it.
"""

from __future__ import annotations

import logging
import os
import resource
from contextlib import suppress

from orchestrator.errors import first_line

UNLIMITED = resource.RLIM_INFINITY


def may_lock() -> bool:
    """Whether this process may lock as much memory as there is; root lets itself."""
    with suppress(ValueError, OSError):  # another user may not go beyond the hard limit
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (UNLIMITED, UNLIMITED))
    return resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == UNLIMITED


def lock_offloaded() -> bool:
    """Let DeepSpeed lock what it offloads, where that can be done; a warning says where it cannot.

    Returns:
        Whether it will.
    """
    from deepspeed.ops.op_builder import PinMemoryBuilder

    if not may_lock():
        reason = "the limit of locked memory (ulimit -l) is not unlimited"
    else:
        try:
            PinMemoryBuilder().load()
        except Exception as error:  # of compilers and loaders
            reason = f"DeepSpeed's allocator cannot be compiled ({first_line(error)})"
        else:
            os.environ["DS_PIN_MEMORY_BACKEND"] = "native"
            return True
    logging.warning("What is offloaded is not page-locked, and copied more slowly: %s", reason)
    return False
