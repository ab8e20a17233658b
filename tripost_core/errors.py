"""What a user can cause, as one small tree.

    TripostError(ValueError)      one sentence that names the cause; the command line prints it and exits with 2
     |-- ConfigError              an unknown key, a value out of range, a combination that cannot work
     |-- DataError                a data file that is missing, empty or not what its format says
     |-- StorageError             a disk that is full or read-only, a buffer that is truncated or altered
     |-- ModelError               a student directory without weights, a tokenizer that does not fit
     `-- StoppedError             the run ended early for a stated reason and everything so far is kept

A bad *sample* (an attempt that cannot be parsed, an expert that refuses) is never an exception: it is a typed
outcome in the row. A mistake of ours is an `assert`.
"""


class TripostError(ValueError):
    """Base of everything a user can cause; its message is one sentence."""


class ConfigError(TripostError):
    """The configuration is wrong."""


class DataError(TripostError):
    """A data file is missing, empty or malformed."""


class OutOfMemoryError(ConfigError):
    """A training needs more memory than there is."""


class StorageError(TripostError):
    """A buffer or checkpoint cannot be read or written."""


class ModelError(TripostError):
    """A model or tokenizer cannot be used."""


class StoppedError(TripostError):
    """The run cannot go on; what was finished is kept."""
