"""How a command ends: its exit status, and every expected error as one line."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from anodeflow.errors import AnodeflowError, StoreError

# Beside those of the errors (anodeflow.errors).
WITHOUT_RESULT = 4
_UNEXPECTED = 70
INTERRUPTED = 130

_NOT_WRITABLE = {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EPERM}


def guarded(command: Callable[[], Any]) -> int:
    """Run a command; every expected error becomes one line on standard error and an exit status."""
    try:
        return int(command() or 0)
    except SystemExit as error:
        return int(error.code or 0)
    except AnodeflowError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the exit is quiet, too
        return 0
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            return _unexpected(error)
        where = f" '{error.filename}'" if error.filename else ""
        click.echo(f"error: cannot write{where}: {error.strerror}; free space or choose another folder", err=True)
        return StoreError.exit_code
    except Exception as error:
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    """Print one line for an error nobody foresaw; the traceback with ANODEFLOW_DEBUG=1."""
    if os.environ.get("ANODEFLOW_DEBUG"):
        raise error
    text = f"unexpected {type(error).__name__}: {error}".encode("ascii", "backslashreplace").decode()[:400]
    click.echo(f"error: {' '.join(text.split())}; run again with ANODEFLOW_DEBUG=1 and report it", err=True)
    return _UNEXPECTED
