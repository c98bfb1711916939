"""The errors that jina-data raises. Every message says what was got, what was expected and what to do next."""

from __future__ import annotations


class JinaDataError(Exception):
    """Base of all errors meant for the user; `exit_status` is what the command line returns."""

    exit_status = 1


class UsageError(JinaDataError):
    """The call itself is wrong: an unknown option, a missing role, two settings that exclude each other."""

    exit_status = 2


class RecipeError(UsageError):
    """A recipe does not validate; the message names file, line, what was expected and the nearest known name."""


class InputError(JinaDataError):
    """An input is missing, unreadable, truncated, or does not fit the others."""


class RunFolderError(JinaDataError):
    """The output folder cannot be used: not empty, not writable, in use, or of another run."""


class ModelError(JinaDataError):
    """A model file is missing, corrupt or of the wrong kind."""


class ServerError(JinaDataError):
    """An LLM server cannot be reached, refuses every request, or fails too often. What it answered is kept."""


class MissingExtraError(JinaDataError):
    """A feature needs packages that the light install leaves out; the message says which `pip install` brings them."""


class ResourceError(JinaDataError):
    """The machine ran out of disk or memory, or a worker was killed. The run can be resumed."""


class DivergedError(JinaDataError):
    """The loss of a training step is not a finite number; the batch was saved beside the checkpoints."""


class StoppedError(JinaDataError):
    """The user stopped the run (Ctrl-C). The run can be resumed."""


class LicenseError(JinaDataError):
    """The license of a source is unknown, or forbids what the user asks for; the user has to decide."""


class HubError(JinaDataError):
    """The Hugging Face Hub refused something, could not be reached, or gave back something else than was sent."""


class LawError(JinaDataError):
    """A law of the run folder does not hold: a defect of jina-data, never of the input."""


def first_line(error: BaseException) -> str:
    """Return the first line of what an error of another library says, or its kind, to stand within a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
