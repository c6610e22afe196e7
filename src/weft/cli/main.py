"""The command `weft`: find the command by its file name, read the line, run it; one sentence for every mistake."""

import signal
import sys
from collections.abc import Sequence

from ..core import registry as discovery
from ..core.errors import UserError
from ..core.interruption import remembered
from ..core.tables import text_table

__all__ = ["main"]

INTRODUCTION = """\
weft: from logged decisions to a policy, and to an answer whether to deploy it.

usage: weft COMMAND [ARGUMENTS]      (weft COMMAND --help explains a command)
"""

STOPPED = 130  # what shells say of a program that Ctrl-C ended

EXAMPLE = """\
Example: weft demo
         weft fit iql sample:maze --steps 2000
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 if all went well, 2 for a mistake that the person can mend, 130 if stopped."""
    with remembered():
        code = run(list(sys.argv[1:] if arguments is None else arguments))
    if code == STOPPED:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # impatient fingers: a second one would end in a traceback
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command line and return the exit code."""
    try:
        if not arguments or arguments[0] in ("-h", "--help", "help"):
            print(overview())
        elif arguments[0] == "--version":
            from .. import __version__

            print(f"weft {__version__}")
        else:
            from .command import PACKAGE, Command

            command = discovery.choose(PACKAGE, arguments[0], "command", discovery.final(Command))
            command.read(arguments[1:]).run()
    except UserError as problem:
        print(f"weft: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("weft: Stopped.", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:  # the reader of a pipe went away
        sys.stderr.close()
        return 0
    except Exception as problem:
        from .command import Stopped

        if not isinstance(problem, Stopped):
            raise
        print(f"weft: {problem}", file=sys.stderr)
        return STOPPED
    return 0


def overview() -> str:
    """Return the help of all commands."""
    from .command import PACKAGE, Command

    commands = discovery.discover(PACKAGE, discovery.final(Command))
    table = text_table((f"  {name}", command.title()) for name, command in commands.items())
    return "\n".join([INTRODUCTION, table, "", EXAMPLE])
