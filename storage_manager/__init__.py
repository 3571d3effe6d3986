"""Store what browser agents see and do: the HTML, screenshot, action and metadata of each step.

The same calls work on S3 and on local disk. pandas, dask, duckdb and other tools that use fsspec can open the URLs.
"""

from storage_manager.defaults import DEFAULT_LOCAL_BASE_PATH, DEFAULT_S3_REGION
from storage_manager.errors import (
    AlreadyExistsError,
    InvalidDataError,
    InvalidIdError,
    LocalStorageError,
    S3ConfigError,
    S3OperationError,
    StorageManagerError,
)
from storage_manager.layout import (
    ACTION_DATA_FILENAME,
    HTML_FILENAME,
    METADATA_FILENAME,
    SCREENSHOT_FILENAME,
    Component,
    Step,
    StepData,
)
from storage_manager.storage import Attachment, Options, StorageManager

__version__ = "0.1.0"

__all__ = [
    "ACTION_DATA_FILENAME",
    "DEFAULT_LOCAL_BASE_PATH",
    "DEFAULT_S3_REGION",
    "HTML_FILENAME",
    "METADATA_FILENAME",
    "SCREENSHOT_FILENAME",
    "AlreadyExistsError",
    "Attachment",
    "Component",
    "InvalidDataError",
    "InvalidIdError",
    "LocalStorageError",
    "Options",
    "S3ConfigError",
    "S3OperationError",
    "Step",
    "StepData",
    "StorageManager",
    "StorageManagerError",
    "__version__",
]
