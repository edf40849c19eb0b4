"""Where torch.compile cannot: it works at the first call, far from where it was asked for."""

from collections.abc import Iterator
from contextlib import contextmanager

from marotte.errors import MarotteError

_COMPILERS = ("torch._dynamo", "torch._inductor")


@contextmanager
def compiling(what: str, asked: bool) -> Iterator[None]:
    """Turn what torch's compiler raises in here, of which it has dozens, into one line.

    what: is compiled; asked: whether it is at all.
    """
    try:
        yield
    except Exception as error:
        if not asked or not type(error).__module__.startswith(_COMPILERS):
            raise
        why = " ".join(str(error).split())[:160]
        raise MarotteError(
            f"torch cannot compile {what} here ({why}): install a C++ compiler (g++), or leave out compile"
        ) from error
