"""Export sessions as data sets: Parquet (extra `parquet`), WebDataset shards, and with Dask (extra `dask`)."""

from storage_manager.export.cluster import export_dask
from storage_manager.export.dataframe import read_dask
from storage_manager.export.parquet import export_parquet
from storage_manager.export.webdataset import export_webdataset

__all__ = ["export_dask", "export_parquet", "export_webdataset", "read_dask"]
