"""What can go wrong between a data set's name and its arrays? The exception types, no logic."""


class DatasetError(ValueError):
    """Base class of every error raised by :mod:`sparsewire.datasets`."""


class UnknownDatasetError(DatasetError):
    """The name is in no registry entry; the message lists close matches."""


class DatasetNotFoundError(DatasetError):
    """The name is known but its file is in none of the searched directories."""


class DatasetCorruptedError(DatasetError):
    """A file of the right name was found but its SHA-256 is not the registered one."""


class DatasetKindError(DatasetError):
    """The name is known but names data of another kind; the message says what loads it."""


class MalformedFileError(DatasetError):
    """A file does not keep to its format, or uses a part of it that is not read.

    The message names the file and, where there is one, the line.
    """
