"""Run a condition in DuckDB, in a separate process. `find.py` starts this file as a program, and ends it.

A condition may come from an untrusted user. DuckDB does not limit the memory or the time of a single function call
(`damerau_levenshtein` took 7 GB and two minutes), so the limits apply to the process. The process reads a line of JSON
and the catalogue as an Arrow stream from stdin. It writes the rows that it found to stdout, as an Arrow stream. If the
condition or the order is wrong, it writes one line with the reason, and its exit code is 3.
"""

import json
import resource
import sys
from typing import Any

if __name__ == "__main__":
    del sys.path[0]  # the directory of this file, whose modules have names such as `table`

__all__ = ["REFUSED", "main"]

REFUSED = 3  # the exit code; Python itself exits with 1 after an exception

# The functions from which a subquery may select; others tell about the database, or read files.
_TABLE_FUNCTIONS = {"generate_series", "json_each", "json_tree", "range", "unnest"}
# A database in memory, without files, extensions, the variables of this program, and proxies with passwords.
_LOCKED_DOWN = {
    "TimeZone": "UTC",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "http_proxy": "",
    "http_proxy_username": "",
    "http_proxy_password": "",
    "temp_directory": "",
    "secret_directory": "",
    "home_directory": "",
    "memory_limit": "2GB",
    "enable_external_access": "false",  # after the directories, which could not be set any more
    "lock_configuration": "true",
}


def main() -> int:
    """Answer the query on stdin."""
    import duckdb
    import pyarrow.ipc  # noqa: F401 - before the catalogue comes

    given = json.loads(sys.stdin.buffer.readline() or "null")
    if given is None:  # there is no catalogue
        return 0
    resource.setrlimit(resource.RLIMIT_CPU, (given["cpu_seconds"], given["cpu_seconds"]))
    resource.setrlimit(resource.RLIMIT_AS, (given["memory_bytes"], given["memory_bytes"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        _write(_find(duckdb, **given["query"]))
    except duckdb.OutOfMemoryException as error:
        raise MemoryError from error  # as Python itself does at its limit
    except _WrongOrderError as error:
        sys.stdout.write(f"order_by cannot be used: {_reason(error.__cause__)} (descending is `started_at DESC`)")
        return REFUSED
    except (duckdb.Error, ValueError) as error:
        quotes = (
            ". A text needs single quotes, such as outcome = 'failure'" if "Referenced column" in str(error) else ""
        )
        sys.stdout.write(f"the condition cannot be used: {_reason(error)}{quotes}")
        return REFUSED
    return 0


class _WrongOrderError(Exception):
    """The condition alone can be used; with the order, its cause is raised."""


def _reason(error: BaseException | None) -> str:
    """Return DuckDB's message in one line, without the place in the statement and the signatures of functions."""
    return " ".join(str(error).partition("\n\nLINE")[0].partition("Candidate functions:")[0].split())


def _find(duckdb: Any, columns: str, where: str, order_by: str, limit: int) -> Any:
    """Return the rows as an Arrow table."""
    import pyarrow.ipc

    connection = duckdb.connect(":memory:")
    connection.register("catalog", pyarrow.ipc.open_stream(sys.stdin.buffer).read_all())
    for name, value in _LOCKED_DOWN.items():
        connection.execute(f"SET {name} = '{value}'")
    # each text ends with its line, and so does a comment in it
    condition = f"WHERE (\n{where}\n)" if where.strip() else ""
    order = f"{order_by}\n, session_id" if order_by.strip() else "session_id"
    statement = f"SELECT {columns} FROM catalog {condition}"
    if where.strip():
        duckdb.SQLExpression(where)  # it must stand alone, also without the parentheses of the statement
    _checked(duckdb, connection, statement)
    try:
        relation = _checked(duckdb, connection, f"{statement} ORDER BY\n{order} LIMIT {limit}")
    except (duckdb.Error, ValueError) as error:
        raise _WrongOrderError from error
    return relation.to_arrow_table()


def _checked(duckdb: Any, connection: Any, statement: str) -> Any:
    """Return the relation of a statement, which has not been run.

    Raises:
        duckdb.Error, ValueError: it is more than one statement, or cannot be used. The message says why.
    """
    statements = connection.extract_statements(statement)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise ValueError("give one condition and one order, without other statements")
    [[tree]] = connection.execute("SELECT json_serialize_sql(?)", [statement]).fetchall()
    refused = sorted(_table_functions(tree) - _TABLE_FUNCTIONS)
    if refused:
        raise ValueError(f"{refused[0]} cannot be used here")
    return connection.sql(statement)


def _table_functions(tree: str) -> set[str]:
    """Return the table functions from which a statement (as JSON) selects rows."""
    try:
        nodes = [json.loads(tree)]
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    found = set[str]()
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict) and node.get("type") == "TABLE_FUNCTION":
            found.add(str(node["function"].get("function_name")).lower())
        nodes += node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return found


def _write(table: Any) -> None:
    import pyarrow.ipc

    with pyarrow.ipc.new_stream(sys.stdout.buffer, table.schema) as stream:
        stream.write_table(table)


if __name__ == "__main__":
    sys.exit(main())
