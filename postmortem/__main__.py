"""The command `postmortem`: runs the click commands and turns every error into one line and an exit code of the contract."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point. Exit codes: 0 clean, 1 findings, 2 wrong usage, 3 we failed, 4 nothing to analyse, 130 interrupted."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and give its exit code; never lets a Python traceback out."""
    import click

    from postmortem.cli import command
    from postmortem.errors import PostmortemError

    try:
        code = command.main(arguments, prog_name="postmortem", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return 2
    except PostmortemError as error:
        _complain(str(error))
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains again at exit
        return 0
    except OSError as error:
        _complain(f"{error.filename or 'output'}: {error.strerror or error}")
        return 3
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # the contract: never a traceback on stderr
        if os.environ.get("POSTMORTEM_DEBUG"):
            raise
        _complain(f"internal error ({type(error).__name__}: {error}); please report it with POSTMORTEM_DEBUG=1 set")
        return 3


def _complain(sentence: str) -> None:
    """One line on stderr, with control characters made visible: the sentence may quote a file name of the run."""
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in sentence)
    print(f"postmortem: {shown}".encode(sys.stderr.encoding or "utf-8", "backslashreplace").decode(sys.stderr.encoding or "utf-8"), file=sys.stderr)


if __name__ == "__main__":
    main()
