"""Say the library's advice in terms of the command line: options and variables, not keywords of Python."""

from typing import NamedTuple

__all__ = ["in_terms_of"]


class _Terms(NamedTuple):
    """The names that a command has for its root and its endpoint, and what `ls` needs to list the same root."""

    root: str
    endpoint: str
    ls: str = ""


_TERMS = {"cp": _Terms("the URL", "--source-endpoint, --target-endpoint or SM_S3_ENDPOINT_URL", " --root SOURCE_URL")}
_USUAL = _Terms("--root or SM_ROOT", "SM_S3_ENDPOINT_URL")

# What the library says, and what a command says instead. Of two phrases that begin alike, the longer one comes first.
_PHRASES = (
    # cli
    ("name the root with --root or SM_ROOT", "name the root with {root}"),
    ("list them with storage-manager ls", "list them with storage-manager ls{ls}"),
    # errors.py
    ("correct s3_bucket_name (SM_S3_BUCKET_NAME)", "correct the bucket in {root} (or SM_S3_BUCKET_NAME)"),
    (" (AWS_ACCESS_KEY_ID, AWS_PROFILE, or storage_options)", " (AWS_ACCESS_KEY_ID or AWS_PROFILE)"),
    (", or give storage_options={'key': ..., 'secret': ...}", ""),
    ("; on a slow line lower max_concurrency, or raise read_timeout in storage_options['config_kwargs']", ""),
    ("config_kwargs['proxies']", "NO_PROXY"),
    ("correct storage_options", "correct the SM_* and AWS_* variables"),
    ("choose another local_base_path", "choose another directory in {root}"),
    (", and overwrite is False", ""),
    # config.py
    ("s3_bucket_name (SM_S3_BUCKET_NAME) is not set", "SM_S3_BUCKET_NAME is not set"),
    ("require_s3 is set", "SM_REQUIRE_S3 is set"),
    ("prefer_s3 is false", "SM_PREFER_S3 is false"),
    ("use StorageManager.from_url(url)", "give it in {root}"),
    ("or the host of a file: use storage_options", "or the host of a file: give credentials in AWS_* variables"),
    # s3_settings.py
    (
        "(s3_endpoint_url, SM_S3_ENDPOINT_URL, storage_options, or AWS_ENDPOINT_URL)",
        "({endpoint}, or AWS_ENDPOINT_URL)",
    ),
    (", or storage_options['key'] and ['secret']", ""),
    ("storage_options['profile']", "--source-profile or --target-profile"),
    # backends
    ("use s3_engine='s3fs'", "set SM_S3_ENGINE=s3fs"),
    ("need s3_engine='s3fs'", "need SM_S3_ENGINE=s3fs"),
    ("raise max_file_bytes, or open it with storage.fs.open(storage.url_for(...))", "copy it with `get`"),
    (" (leave out overwrite=False)", ""),
    (": leave out overwrite=False", ""),
    ("expires_in is", "--expires is"),
    ("give 1 to 604800 seconds, or a timedelta of at most seven days", "give 1s to 7d"),
    # export, importers, catalog
    ("use complete_only=False", "give --incomplete"),
    ("all_calls=True imports", "--all-calls imports"),
    ("give another session_id", "give another id with --session"),
    (": give session_id", ": give an id with --session"),
    (", or await update_catalog(storage)", ""),
    ("order_by cannot be used", "--order-by cannot be used"),
    # settings by their names
    ("s3_endpoint_url (SM_S3_ENDPOINT_URL)", "{endpoint}"),
    ("s3_region_name (SM_S3_REGION)", "SM_S3_REGION"),
    ("s3_engine (SM_S3_ENGINE)", "SM_S3_ENGINE"),
    ("in s3_endpoint_url", "in {endpoint}"),
    ("s3_endpoint_url is", "{endpoint} is"),
    ("s3_bucket_name is", "the bucket in {root} is"),
    ("s3_prefix is", "the prefix in {root} is"),
    ("local_base_path is", "the directory in {root} is"),
    ("local_base_path begins", "the directory in {root} begins"),
)


def in_terms_of(command: str | None, text: str) -> str:
    """Return a message of the library in terms of this command; None: of any command."""
    terms = _TERMS.get(command or "", _USUAL)
    for phrase, instead in _PHRASES:
        text = text.replace(phrase, instead.format_map(terms._asdict()))
    return text
