"""The columns of an export: steps as rows of an Arrow table, all following from `layout.COMPONENTS`.

==================  ==============  ====================================================================
column              type            value
==================  ==============  ====================================================================
session_id          string          never null
step_id             string          never null
html                string          null where the step has none, or it cannot be read
screenshot          binary          the same
action, metadata    string          JSON (RFC 8259) in one line; the same
html_url, ...       string          one for each component; null where the step has none
unreadable          string          the components that are there and cannot be read, "html,action"; "" for none
==================  ==============  ====================================================================
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from storage_manager.errors import needing
from storage_manager.export.rows import Row
from storage_manager.layout import Component, ComponentSpec, formats, join

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["arrow", "schema", "text_array", "to_batch"]


def arrow() -> Any:
    """The package pyarrow, which only an export needs.

    Raises:
        StorageManagerError: it is not installed.
    """
    with needing("pyarrow", "parquet", "export"):
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    return pyarrow


def schema(components: Sequence[Component]) -> "pa.Schema":
    """The columns for these components; a component that is not asked for has none.

    Raises:
        InvalidDataError: one of them is no component.
        StorageManagerError: pyarrow is not installed.
    """
    rows, pa = formats(components), arrow()
    ids = [pa.field(name, pa.string(), nullable=False) for name in ("session_id", "step_id")]
    values = [pa.field(row.name, pa.binary() if _is_binary(row) else pa.string()) for row in rows]
    urls = [pa.field(f"{row.name}_url", pa.string()) for row in rows]
    return pa.schema([*ids, *values, *urls, pa.field("unreadable", pa.string(), nullable=False)])


def to_batch(rows: Sequence[Row], root: str, components: Sequence[Component]) -> "pa.RecordBatch":
    """Steps as rows with the columns of `schema`, in their order.

    Parameters:
        rows: steps as read_row gives them; less than 2 GiB of a component in all, as Arrow's offsets have 32 bits.
        root: the URL of the place, `storage.url_for()`.
        components: as they were read.
    """
    columns = dict(_columns(rows, root, components))
    fields = schema(components)
    arrays = [text_array(columns[field.name]).view(field.type) for field in fields]
    return arrow().RecordBatch.from_arrays(arrays, schema=fields)


def text_array(values: Sequence[str | bytes | None]) -> "pa.StringArray":
    """Text, or bytes to be viewed as binary. `pyarrow.array` would import pandas where it is installed, for 41 MB."""
    builder = arrow().lib.StringBuilder()
    builder.append_values(values)
    return builder.finish()


def _columns(rows: Sequence[Row], root: str, components: Sequence[Component]) -> Iterator[tuple[str, list[Any]]]:
    yield "session_id", [row.session_id for row in rows]
    yield "step_id", [row.step_id for row in rows]
    yield "unreadable", [",".join(row.unreadable) for row in rows]
    for component in formats(components):
        yield component.name, [_value(component, row) for row in rows]
        yield f"{component.name}_url", [_url(component, row, root) for row in rows]


def _is_binary(component: ComponentSpec) -> bool:
    return component.content_type(b"").startswith("image/")


def _value(component: ComponentSpec, row: Row) -> str | bytes | None:
    """Text and bytes as they are, a mapping as the line of JSON that is stored."""
    value: Any = getattr(row.data, component.name)
    if isinstance(value, Mapping):
        return component.encode(value, component.keyword).decode().removesuffix("\n")
    return value  # type: ignore[no-any-return]


def _url(component: ComponentSpec, row: Row, root: str) -> str | None:
    if getattr(row.data, component.name) is None and component.name not in row.unreadable:
        return None
    return join(root, row.session_id, row.step_id, component.filename)
