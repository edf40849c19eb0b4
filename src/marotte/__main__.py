"""`python -m marotte` and the `marotte` command."""

import sys


def main() -> int:
    """Run the command line; see `marotte.runtime.cli`."""
    from marotte.runtime.cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
