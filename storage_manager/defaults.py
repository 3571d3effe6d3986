"""The default values of settings. Users can import them."""

__all__ = ["DEFAULT_LOCAL_BASE_PATH", "DEFAULT_S3_REGION"]

DEFAULT_S3_REGION = "us-west-2"
DEFAULT_LOCAL_BASE_PATH = "./.storage_data"
