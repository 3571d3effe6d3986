"""Run code in its own Python process, because it may hang or end the process."""

import subprocess
import sys

from tests.support import ROOT


def run_python(code: str, *args: str, stdin: str = "", timeout: float = 60) -> str:
    """Run the code, and return its output. If it takes longer than the timeout, fail, and show its last line."""
    command = [sys.executable, "-W", "error", "-c", code, *args]
    try:
        done = subprocess.run(
            command, check=False, input=stdin, capture_output=True, text=True, timeout=timeout, cwd=ROOT
        )
    except subprocess.TimeoutExpired as error:
        last = (error.stderr or b"").decode(errors="replace").strip().rpartition("\n")[2]
        raise AssertionError(f"it takes longer than {timeout:g} seconds: {last[:2000]}") from None
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
