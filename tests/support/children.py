"""Code in a Python process of its own: what it does may hang, or take the process with it."""

import subprocess
import sys

from tests.support import ROOT


def run_python(code: str, *args: str, stdin: str = "", timeout: float = 60) -> str:
    """Run the code; return what it printed. It fails the test if it takes longer, and then shows its last line."""
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
