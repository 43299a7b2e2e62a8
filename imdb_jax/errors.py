"""The one exception that a person, not a programmer, is meant to read."""


class UserError(Exception):
    """Something outside the program is wrong: an argument, a file, the network.

    The message is one sentence (or two) that says what was wrong, where, and what to do. Commands
    print it without a traceback and exit with status 2; library callers can catch it.
    """


class Terminated(Exception):
    """The operating system asked the run to end (SIGTERM), and the run ended in good order."""
