# Sourced by the commands in this folder. It goes to the root of the clone and sets $python: the Python that the variable
# PYTHON names, or else the one in .venv.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-.venv/bin/python}

fail() { echo "$0: $*" >&2; exit 1; }

command -v "$python" >/dev/null ||
  fail "there is no $python: run python3 -m venv .venv && .venv/bin/pip install -e '.[test,docs]', or set PYTHON"

# needs MODULE...: fail with the command that installs the modules if one of them is missing
needs() {
  local missing
  missing=$("$python" -c '
import importlib.util, sys
print(*(name for name in sys.argv[1:] if importlib.util.find_spec(name) is None))' "$@")
  [[ -z $missing ]] || fail "$python lacks $missing: run $python -m pip install -e '.[test,docs]'"
}
