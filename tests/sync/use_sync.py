"""Uses the synchronous face, with the types that it promises. mypy and pyright look at it; it is never run."""

from collections.abc import Generator
from datetime import timedelta
from typing import Any

from typing_extensions import assert_type

from storage_manager import Step, StepData, storage, sync
from storage_manager.integrity import Problem
from storage_manager.transfer import CopyResult


class Own(sync.StorageManager):
    """`from_url` and `with` give what they are called on."""


def use(page: Any, driver: Any) -> None:
    assert_type(Own.from_url("s3://bucket/prefix", s3_engine="obstore"), Own)
    with sync.StorageManager(local_base_path="base", redact=["secret"]) as manager:
        assert_type(manager, sync.StorageManager)
        assert_type(manager.asynchronous, storage.StorageManager)
        assert_type(manager.store_step_data("s", "t", "<p>", metadata={"a": 1}), dict[str, str | None])
        assert_type(manager.retrieve_step_data("s", "t", components=["html"]), StepData)
        assert_type(manager.iter_steps(["s"]), Generator[Step, None, None])
        assert_type(manager.iter_sessions(), Generator[str, None, None])
        assert_type(manager.store_steps(manager.iter_steps()), int)
        assert_type(manager.storage_options, dict[str, Any])
        assert_type(sync.seal_session(manager, "s"), str)
        assert_type(sync.verify_session(manager, "s"), list[Problem])
        assert_type(sync.sweep(manager, timedelta(hours=2)), int)
        assert_type(sync.copy_sessions(manager, Own(), progress=lambda done, number: None), CopyResult)
        with sync.record(manager, "s", image="webp", quality=80, mask=["#secret"]) as recorder:
            assert_type(recorder, sync.Recorder)
            assert_type(recorder.step(page, {"type": "click"}), str)
            assert_type(recorder.add(html="<p>"), str)
            recorder.finish(outcome="success")


def refused(manager: sync.StorageManager) -> None:
    manager.backend()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    sync.seal_session(manager.asynchronous, "s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sync.seal_session(manager)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
