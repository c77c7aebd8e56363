"""The command line: one file per verb. The only package that prints, and the only one that reads the environment.

Nothing heavy is imported before a verb is chosen, so `curate --help` answers in under 0.3 s.
"""

from __future__ import annotations

import argparse
import atexit
import importlib
import os
import pkgutil
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from curate import __version__
from curate.errors import CurateError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 some shard failed, 2 it could not start, 130 interrupted.

    Without `arguments` it is the program itself: it takes those of its process, and ends it.
    """
    code = _main(arguments)
    if arguments is None:
        _end(code)
    return code


def _end(code: int) -> None:
    """End the process once Python's own part of the end is done. What libraries do after it with their threads aborted
    one run in forty, whose answer was written and whose work was committed."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):
            pass
        except OSError:
            code = code or 1
    os._exit(code)


def _main(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="curate", description="From the web to training data for vision-language models."
    )
    parser.add_argument("--version", action="version", version=f"curate-vl {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name in sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")):
        module = importlib.import_module(f"{__name__}.{name}")
        summary = (module.__doc__ or "").strip().splitlines()[0]
        verb = verbs.add_parser(
            name, help=summary, description=module.__doc__, formatter_class=argparse.RawTextHelpFormatter
        )
        module.add_arguments(verb)
        verb.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        code: int = options.run(options)
        return code
    except CurateError as error:
        print(f"curate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("curate: interrupted; run the same command again to go on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    finally:
        if arguments is not None:
            signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
