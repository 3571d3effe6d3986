"""Sessions as data sets: Parquet files, WebDataset shards."""
