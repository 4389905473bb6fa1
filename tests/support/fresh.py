"""Fresh processes that need not import the backend first: they are forked after that.

One process imports it, and does nothing else; each call forks it. Importing takes four
seconds of processor time, forking some milliseconds. What must not have been imported
before, or depends on options of the interpreter, needs `subprocess`.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path


@dataclasses.dataclass
class Process:
    """A process that runs a program; its output goes into files."""

    pid: int
    stdout: Path
    stderr: Path
    returncode: int | None = None

    def poll(self) -> int | None:
        """Returns the exit status as `subprocess` does; `None` while it runs."""
        if self.returncode is None:
            self.returncode = _asked({"poll": self.pid})
        return self.returncode

    def wait(self, seconds: float = 300) -> int:
        end = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > end:
                self.kill()
                raise TimeoutError(f"it still ran after {seconds} s: {self.said()}")
            time.sleep(0.01)
        return self.returncode

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def said(self) -> tuple[str, str]:
        """What it has written to its standard output, and to its standard error."""
        return self.stdout.read_text(), self.stderr.read_text()


def start(
    code: str, *arguments: object, cwd: object = None, env: dict[str, str] | None = None
) -> Process:
    """Runs a program as `python -c` does.

    Args:
        code: the program.
        arguments: `sys.argv[1:]`.
        cwd: folder to run it in; this process's own if `None`.
        env: environment variables to be set besides those of this process.
    """
    folder = Path(tempfile.mkdtemp(dir=_folder()))
    request = {
        "code": code,
        "argv": ["-c", *map(str, arguments)],
        "cwd": str(cwd or Path.cwd()),
        "env": {**os.environ, **(env or {})},
        "folder": str(folder),
    }
    return Process(_asked(request), folder / "stdout", folder / "stderr")


def run(code: str, *arguments: object, check: bool = True, **options: object):
    """Runs a program to its end; returns its exit status and what it said."""
    process = start(code, *arguments, **options)
    status = process.wait()
    out, error = process.said()
    assert not check or status == 0, error
    return subprocess.CompletedProcess(arguments, status, out, error)


@functools.cache
def _folder() -> str:
    made = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    atexit.register(made.cleanup)
    return made.name


@functools.cache
def _server() -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _asked(request: dict[str, object]) -> int | None:
    server = _server()
    print(json.dumps(request), file=server.stdin, flush=True)
    return json.loads(server.stdout.readline())


# What follows runs in the process that is forked, which ends with its standard input.


def _serve() -> None:
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # Importing may print.
        import keras_tuner  # noqa: F401

        importlib.import_module(os.environ["KERAS_BACKEND"])

        for line in sys.stdin:
            request = json.loads(line)
            answer = _status(request["poll"]) if "poll" in request else _forked(request)
            print(json.dumps(answer), file=answers, flush=True)


def _status(pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _forked(request: dict) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        _become(request)
        status = _executed(request["code"])
    finally:
        os._exit(status)


def _become(request: dict) -> None:
    for number, name in enumerate(("stdout", "stderr"), 1):
        file = os.open(f"{request['folder']}/{name}", os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(file, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv[:] = request["argv"]
    named = request["env"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = ["", *filter(None, named)]
    random.seed()


def _executed(code: str) -> int:
    """Runs a program and all that is to be done at its end."""
    status = 0
    main = sys.modules["__main__"]
    try:
        exec(compile(code, "<string>", "exec"), vars(main) | {"__file__": None})
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    return status


if __name__ == "__main__":
    _serve()
