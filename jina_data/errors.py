"""The errors that jina-data raises. A message states the problem, what was expected, and what to do next."""

from __future__ import annotations


class JinaDataError(Exception):
    """Base class of all errors for the user; `exit_status` is the exit status of the command."""

    exit_status = 1


class UsageError(JinaDataError):
    """The call is wrong: an unknown option, a missing role, or two settings that exclude each other."""

    exit_status = 2


class RecipeError(UsageError):
    """A recipe is not valid; the message names the file, the line, what was expected, and the nearest known name."""


class InputError(JinaDataError):
    """An input is missing, unreadable, truncated, or incompatible with the other inputs."""


class RunFolderError(JinaDataError):
    """The output folder cannot be used: it is not empty, not writable, in use, or from another run."""


class ModelError(JinaDataError):
    """A model file is missing, corrupt or of the wrong kind."""


class ServerError(JinaDataError):
    """An LLM server cannot be reached, rejects every request, or fails too often. Its answers so far are kept."""


class MissingExtraError(JinaDataError):
    """A feature needs packages that the light install lacks; the message has the `pip install` command."""


class ResourceError(JinaDataError):
    """The machine ran out of disk or memory, or a worker was killed. The run can be resumed."""


class DivergedError(JinaDataError):
    """The loss of a training step is not finite; the batch is saved next to the checkpoints."""


class StoppedError(JinaDataError):
    """The user stopped the run (Ctrl-C). The run can be resumed."""


class LicenseError(JinaDataError):
    """The license of a source is unknown or forbids the requested use; the user has to decide."""


class HubError(JinaDataError):
    """The Hugging Face Hub rejected a request, could not be reached, or returned other data than was sent."""


class LawError(JinaDataError):
    """An invariant of the run folder does not hold: a bug in jina-data, never in the input."""


def first_line(error: BaseException) -> str:
    """Return the first line of an exception message without its final period, or the name of the exception type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
