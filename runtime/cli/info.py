"""marotte info: print versions, devices, plug-ins, and why one is not available."""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(arguments: argparse.Namespace) -> None:
    """Print what is here."""
    from marotte.runtime.info import gather

    facts = gather()
    if arguments.json:
        print(json.dumps(facts, indent=2))
        return
    for section, rows in facts.items():
        print(section)
        for name, value in rows.items():
            print(f"  {name:<16} {value}")
