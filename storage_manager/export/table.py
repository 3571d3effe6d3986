"""The columns of an export, which has steps as rows of an Arrow table. The columns depend on `layout.COMPONENTS`.

==================  ==============  ====================================================================
column              type            value
==================  ==============  ====================================================================
session_id          string          never null
step_id             string          never null
html                string          null if the step has no HTML, or if it cannot be read
screenshot          binary          null if the step has no screenshot, or if it cannot be read
action, metadata    string          JSON (RFC 8259) in one line; null if missing or unreadable
html_url, ...       string          one column per component; null if the step has no such component
axtree.json, ...    binary          one column per attachment that is exported; null if the step has none
observed            string          "before" or "after": when the page was observed, as the step's metadata says, or
                                    else its session's; null if neither says it
unreadable          string          the files that exist but cannot be read, "html,action"; else ""
==================  ==============  ====================================================================
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from storage_manager.errors import needing
from storage_manager.export.rows import Row
from storage_manager.layout import Component, ComponentSpec, check_attachment_names, formats, join

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["arrow", "is_binary", "schema", "text_array", "to_batch"]


def arrow() -> Any:
    """Import and return pyarrow. Only an export needs it.

    Raises:
        StorageManagerError: pyarrow is not installed.
    """
    with needing("pyarrow", "parquet", "export"):
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    return pyarrow


def schema(components: Sequence[Component], attachments: Sequence[str] = ()) -> "pa.Schema":
    """Return the columns for these components, and a binary column for each of these attachments.

    Raises:
        InvalidDataError: a name is not the name of a component, or is not allowed for an attachment.
        StorageManagerError: pyarrow is not installed.
    """
    specs, pa = formats(components), arrow()
    ids = [pa.field(name, pa.string(), nullable=False) for name in ("session_id", "step_id")]
    values = [pa.field(spec.name, pa.binary() if is_binary(spec) else pa.string()) for spec in specs]
    urls = [pa.field(f"{spec.name}_url", pa.string()) for spec in specs]
    others = [pa.field(name, pa.binary()) for name in check_attachment_names(attachments)]
    ends = [pa.field("observed", pa.string()), pa.field("unreadable", pa.string(), nullable=False)]
    return pa.schema([*ids, *values, *urls, *others, *ends])


def to_batch(
    rows: Sequence[Row], root: str, components: Sequence[Component], attachments: Sequence[str] = ()
) -> "pa.RecordBatch":
    """Return the steps as a record batch with the columns of `schema`, in their order.

    Parameters:
        rows: steps from read_row. All values of one component together must be smaller than 2 GiB, because Arrow's
            offsets have 32 bits.
        root: the URL of the storage root, `storage.url_for()`.
        components, attachments: the names of those that were read.
    """
    columns = dict(_columns(rows, root, components))
    columns |= {name: [row.attachments.get(name) for row in rows] for name in attachments}
    fields = schema(components, attachments)
    arrays = [text_array(columns[field.name]).view(field.type) for field in fields]
    return arrow().RecordBatch.from_arrays(arrays, schema=fields)


def text_array(values: Sequence[str | bytes | None]) -> "pa.StringArray":
    """Return an array of text. An array of bytes can be viewed as binary afterwards.

    `pyarrow.array` is not used, because it imports pandas if it is installed, and that takes 41 MB.
    """
    builder = arrow().lib.StringBuilder()
    builder.append_values(values)
    return builder.finish()


def _columns(rows: Sequence[Row], root: str, components: Sequence[Component]) -> Iterator[tuple[str, list[Any]]]:
    yield "session_id", [row.session_id for row in rows]
    yield "step_id", [row.step_id for row in rows]
    yield "observed", [row.observed for row in rows]
    yield "unreadable", [",".join(row.unreadable) for row in rows]
    for spec in formats(components):
        yield spec.name, [_value(spec, row) for row in rows]
        yield f"{spec.name}_url", [_url(spec, row, root) for row in rows]


def is_binary(spec: ComponentSpec) -> bool:
    """Return True if the column of a component has bytes, not text."""
    return spec.content_type(b"").startswith("image/")


def _value(spec: ComponentSpec, row: Row) -> str | bytes | None:
    """Return text and bytes unchanged, and a mapping as one line of JSON."""
    value: Any = getattr(row.data, spec.name)
    if isinstance(value, Mapping):
        return spec.encode(value, spec.keyword).decode().removesuffix("\n")
    return value  # type: ignore[no-any-return]


def _url(spec: ComponentSpec, row: Row, root: str) -> str | None:
    if getattr(row.data, spec.name) is None and spec.name not in row.unreadable:
        return None
    return join(root, row.session_id, row.step_id, spec.filename)
