"""Every error that training raises on purpose. Its message is one sentence for the user of the command line.

Errors of torch, pydantic, requests and the file system are wrapped where they arise.

    TrainingError
    ├── InvalidRecipe             a field is misspelt, out of range, or contradicts another
    ├── DataError                 the images to train on
    │   ├── MissingData           the data set's files do not exist
    │   ├── CorruptData           a file is damaged, or has another content
    │   └── DownloadFailed        no mirror gave a whole, right file
    ├── RunError                  a run folder
    │   ├── InvalidRun            no run, one that would be overwritten, or one without a needed file
    │   ├── InvalidCheckpoint     a checkpoint is cut short, damaged, or of another recipe
    │   ├── CannotWrite           the disk is full or the folder read-only; the last good checkpoint is intact
    │   ├── Diverged              the loss is no longer a finite number
    │   └── Interrupted           Ctrl-C; the last good checkpoint is intact
    └── ExportError               the graphs differ from the network, or cannot be made
"""


class TrainingError(Exception):
    """Base of all errors that training raises on purpose."""


class InvalidRecipe(TrainingError):
    """A recipe has a misspelt field, a value out of range, or fields that contradict each other."""


class DataError(TrainingError):
    """The images cannot be loaded."""


class MissingData(DataError):
    """The files of a data set are not in the data folder."""


class CorruptData(DataError):
    """A file of a data set is damaged, or has another content than its name says."""


class DownloadFailed(DataError):
    """No mirror gave a whole, right file."""


class RunError(TrainingError):
    """A run cannot start, go on, or be used."""


class InvalidRun(RunError):
    """The folder is not a run, holds another one already, or lacks a file that the command needs."""


class InvalidCheckpoint(RunError):
    """The checkpoint is cut short, damaged, or was made by another recipe."""


class CannotWrite(RunError):
    """A file of the run cannot be written; what was there before is intact."""


class Diverged(RunError):
    """The loss is no longer a finite number."""


class Interrupted(RunError):
    """The run was stopped by Ctrl-C; the last good checkpoint is intact."""


class ExportError(TrainingError):
    """The graphs differ from the network by more than is allowed, or cannot be made."""
