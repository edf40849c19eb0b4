"""The errors that people see: one line that names the thing, its value and the fix."""

import difflib
from collections.abc import Iterable


class MarotteError(Exception):
    """Something that the user can mend.

    The command line prints the message as one line and exits with 2; the library raises it.
    Write it so that it names the thing, its value and the fix.
    """

    exit_code = 2


class MarotteWarning(UserWarning):
    """The work goes on, but the result may not be what the user hoped for; the text says why."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> MarotteError:
    """Return the error for a name that is not registered, with the nearest one suggested."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return MarotteError(f"no {kind} is called {name!r}: {hint}known are {', '.join(names) or 'none'}")
