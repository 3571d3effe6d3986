"""Run a condition in DuckDB, in a process of its own. `find.py` starts this file as a program, and ends it.

A condition may come from someone else. DuckDB bounds neither the memory nor the time of a single call of a function
(`damerau_levenshtein` took 7 GB and two minutes), so the process is bounded instead. On stdin it gets a line of JSON
and the catalogue as an Arrow stream. On stdout it writes the rows that were found as an Arrow stream; or, with exit
code 1, one line that says what is wrong with the condition.
"""

import json
import resource
import sys
from typing import Any

if __name__ == "__main__":
    del sys.path[0]  # the directory of this file, whose modules have names such as `table`

__all__ = ["main"]

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
    given = json.loads(sys.stdin.buffer.readline())
    resource.setrlimit(resource.RLIMIT_CPU, (given["cpu_seconds"], given["cpu_seconds"]))
    resource.setrlimit(resource.RLIMIT_AS, (given["memory_bytes"], given["memory_bytes"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import duckdb

    try:
        _write(_find(duckdb, **given["query"]))
    except (duckdb.Error, ValueError) as error:
        sys.stdout.write(" ".join(str(error).partition("\n\nLINE")[0].split()))
        return 1
    return 0


def _find(duckdb: Any, columns: str, where: str, order_by: str, limit: int) -> Any:
    """Return the rows as an Arrow table."""
    import pyarrow.ipc

    connection = duckdb.connect(":memory:")
    connection.register("catalog", pyarrow.ipc.open_stream(sys.stdin.buffer).read_all())
    for name, value in _LOCKED_DOWN.items():
        connection.execute(f"SET {name} = '{value}'")
    # each text ends with its line, and so does a comment in it
    condition = f"WHERE (\n{where}\n)" if where.strip() else ""
    order = f"ORDER BY\n{order_by}\n" if order_by.strip() else ""
    statement = f"SELECT {columns} FROM catalog {condition} {order} LIMIT {limit}"
    _check(duckdb, connection, where, statement)
    return connection.sql(statement).to_arrow_table()


def _check(duckdb: Any, connection: Any, where: str, statement: str) -> None:
    """Refuse more than one condition and one order.

    Raises:
        duckdb.Error, ValueError: says what is wrong.
    """
    if where.strip():
        duckdb.SQLExpression(where)  # it must stand alone, also without the parentheses of the statement
    statements = connection.extract_statements(statement)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise ValueError("give one condition and one order, without other statements")


def _write(table: Any) -> None:
    import pyarrow.ipc

    with pyarrow.ipc.new_stream(sys.stdout.buffer, table.schema) as stream:
        stream.write_table(table)


if __name__ == "__main__":
    sys.exit(main())
