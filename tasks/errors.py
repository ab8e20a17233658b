"""Which failures are tried again, and how a failure crosses from a flow run on the GPU pool to the run that waits.

A stage is deterministic: with a wrong configuration, data file or model it fails again, and so it does with a full or
read-only disk. What may be over in a moment: a device or network that does not answer, a GPU whose memory somebody
else holds, a worker that was lost.
"""

from __future__ import annotations

import errno

import httpx

from tripost_core import errors
from tripost_core.errors import StorageError, TripostError

_LASTING = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
}
TRANSIENT = "TransientFailure"


class RunLost(ConnectionError):
    """A flow run on the pool ended without saying why: its worker or machine is gone."""


class PoolFailure(RuntimeError):
    """A flow run on the pool failed for good with something other than a TripostError."""


def is_transient(error: BaseException) -> bool:
    """Whether the same stage may succeed when it is tried again."""
    if isinstance(error, StorageError):
        # Its cause is the operating system's error, or it found a file that is truncated or altered: that one lasts.
        cause = error.__cause__ or error.__context__
        return isinstance(cause, OSError) and is_transient(cause)
    if isinstance(error, TripostError):
        return False
    if isinstance(error, OSError):
        return error.errno not in _LASTING
    # torch is not imported for its exception's sake; the name covers CUDA and every other accelerator.
    out_of_memory = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
    return out_of_memory or isinstance(error, MemoryError | httpx.TransportError)


def state_name(error: Exception) -> str | None:
    """The name of the failed state by which the waiting run knows the error; None = Prefect's own."""
    if isinstance(error, TripostError) and not is_transient(error):
        return type(error).__name__
    return TRANSIENT if is_transient(error) else None


def from_state(name: str, message: str, crashed: bool) -> Exception:
    """The error to raise for a flow run on the pool that did not complete."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, TripostError):
        return kind(message)
    if crashed or name == TRANSIENT:
        return RunLost(message)
    return PoolFailure(message)
