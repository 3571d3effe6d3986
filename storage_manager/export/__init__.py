"""Sessions as data sets, at any fsspec URL: Parquet files (extra `parquet`), and WebDataset shards."""

from storage_manager.export.parquet import export_parquet
from storage_manager.export.webdataset import export_webdataset

__all__ = ["export_parquet", "export_webdataset"]
