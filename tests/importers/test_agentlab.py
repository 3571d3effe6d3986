"""An experiment of AgentLab becomes a session, and nothing of its pickles is run."""

import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from storage_manager import InvalidDataError, StorageManager
from storage_manager.importers import folder, import_agentlab
from tests.support.agent_runs import (
    AGENT_ARGS,
    ENV_ARGS,
    EXP_ARGS,
    JPEG,
    MODEL_ARGS,
    PNG,
    imported,
    observation,
    pickled,
    step_info,
    write_experiment,
)


@pytest.fixture
def sm(tmp_path: Path) -> StorageManager:
    """A manager of an empty root."""
    return StorageManager(local_base_path=tmp_path / "base")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the experiment is."""
    return tmp_path / "2025-01-02_10-00-00_MyArgs_on_shop_1"


SUMMARY = {"n_steps": 2, "cum_reward": 1.0, "err_msg": None, "stack_trace": None, "terminated": True}
SUMMARY |= {"stats.cum_input_tokens": 200, "stats.cum_output_tokens": 20.0, "stats.cum_cost": 0.02}
ARGS = EXP_ARGS(
    agent_args=AGENT_ARGS(agent_name="MyArgs", chat_model_args=MODEL_ARGS(model_name="gpt-x")),
    env_args=ENV_ARGS(task_name="shop", task_seed=1),
    exp_dir=Path("/data/experiment"),
)
STEPS = [
    step_info(0, "fill('6', 'kettle')\nnoop(100)", observation()),
    step_info(1, "click('6')", observation()),
    step_info(
        2, None, observation(last_action="click('6')", last_action_error="TimeoutError: no such element"), reward=1.0
    ),
]


async def test_an_experiment(sm: StorageManager, path: Path) -> None:
    files = {
        "summary_info.json": json.dumps(SUMMARY),
        "exp_args.pkl": pickled(ARGS),
        "package_versions.txt": "numpy==2",
    }
    about, steps = await imported(sm, import_agentlab, write_experiment(path, STEPS, **files))
    assert about == {
        "goal": "Buy a kettle",
        "outcome": "success",
        "reward": 1.0,
        "agent": "MyArgs",
        "model": "gpt-x",
        "usage": {"input_tokens": 200, "output_tokens": 20, "cost_usd": 0.02},
        "task": {"task_name": "shop", "task_seed": 1},
        "start_url": "http://shop.test/",
        "started_at": "2023-11-14T22:13:20.500+00:00",
        "ended_at": "2023-11-14T22:13:23.000+00:00",
        "observed": "before",
        "source": "agentlab",
    }
    box, point = {"x": 8.0, "y": 80.0, "width": 177.0, "height": 21.0}, {"x": 96.5, "y": 90.5}
    filled = {"type": "fill", "action": "fill('6', 'kettle')", "bid": "6", "box": box, "point": point}
    assert [step.action for step in steps] == [
        {
            "actions": [filled, {"type": "noop", "action": "noop(100)"}],
            "action": "fill('6', 'kettle')\nnoop(100)",
            "thought": "thought 0",
        },
        {
            "type": "click",
            "action": "click('6')",
            "bid": "6",
            "box": box,
            "point": point,
            "thought": "thought 1",
            "error": "TimeoutError: no such element",
        },
        None,
    ]
    assert [(step.html, step.screenshot) for step in steps] == [('<html bid="0"></html>', PNG)] * 3
    metadata = steps[2].metadata
    assert metadata == {
        "url": "http://shop.test/",
        "title": "Shop",
        "open_pages_urls": ["http://shop.test/"],
        "open_pages_titles": ["Shop"],
        "active_page_index": [0],
        "elapsed_time": [2.5],
        "focused_element_bid": "4",
        "last_action": "click('6')",
        "last_action_error": "TimeoutError: no such element",
        "step": 2,
        "reward": 1.0,
        "raw_reward": 0,
        "terminated": False,
        "truncated": False,
        "profiling": {"env_start": 1700000002.5, "env_stop": 1700000003.0, "agent_start": 0, "agent_stop": 0},
        "timestamp": "2023-11-14T22:13:23.000+00:00",
        "observed": "before",
        "source": "agentlab",
    }
    session = path.name
    assert await sm.list_attachments(session) == ["exp_args.json", "package_versions.txt", "summary_info.json"]
    names = ["agent_info.json", "axtree.txt", "extra_element_properties.json", "pruned_html.txt"]
    assert await sm.list_attachments(session, "step_000001") == names
    info = json.loads(await sm.retrieve_attachment(session, "agent_info.json", "step_000001") or b"")
    assert info == {"think": "thought 0", "chat_messages": [], "stats": {"n": 1.5}}
    args = json.loads(await sm.retrieve_attachment(session, "exp_args.json") or b"")
    assert args["exp_dir"] == "/data/experiment"


@pytest.mark.parametrize(
    ("summary", "outcome"),
    [
        ({"cum_reward": 0.5, "err_msg": None}, "success"),
        ({"cum_reward": 0, "err_msg": None}, "failure"),
        ({"cum_reward": 1.0, "err_msg": "boom"}, "error"),
        ({}, None),
        (None, None),
    ],
)
async def test_the_outcome(sm: StorageManager, path: Path, summary: Any, outcome: str | None) -> None:
    files = {} if summary is None else {"summary_info.json": json.dumps(summary)}
    about, _ = await imported(sm, import_agentlab, write_experiment(path, STEPS[:1], **files))
    assert about.get("outcome") == outcome
    assert about.get("error") == ("boom" if outcome == "error" else None)


async def test_the_goal_may_be_in_a_file_of_its_own(sm: StorageManager, path: Path) -> None:
    goal = [
        {"type": "text", "text": "Buy"},
        {"type": "image_url", "image_url": "data:"},
        {"type": "text", "text": "it"},
    ]
    steps = [step_info(0, None, observation(goal=None))]
    files = {"goal_object.pkl.gz": gzip.compress(pickled(tuple(goal)))}
    about, _ = await imported(sm, import_agentlab, write_experiment(path, steps, **files))
    assert about["goal"] == "Buy\nit"


async def test_an_environment_that_failed(sm: StorageManager, path: Path) -> None:
    """AgentLab then writes a step without anything. It is left out, unless it is the only one."""
    failed = step_info(1, None, None, agent_info={"err_msg": "boom"})
    _, steps = await imported(sm, import_agentlab, write_experiment(path, [STEPS[0], failed]))
    assert len(steps) == 1
    _, steps = await imported(sm, import_agentlab, write_experiment(path.with_name("other"), [failed]))
    why = "the experiment failed before it observed the page"
    assert (steps[0].metadata or {})["not_captured"] == {"html": why}


async def test_pixels_of_an_observation(sm: StorageManager, path: Path) -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    marked = np.full((2, 2, 4), 7, np.uint8)
    step = step_info(0, None, observation(screenshot=pixels, screenshot_som=marked))
    write_experiment(path, [step])
    (path / "screenshot_step_0.png").unlink()
    _, [data] = await imported(sm, import_agentlab, path)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data.screenshot or b""))), pixels)
    stored = await sm.retrieve_attachment(path.name, "screenshot_som.png", "step_000001")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(stored or b""))), marked)


async def test_what_is_not_captured_is_named(sm: StorageManager, path: Path) -> None:
    step = step_info(0, None, {"url": "http://shop.test/", "screenshot": np.zeros(3)})
    write_experiment(path, [step])
    (path / "screenshot_step_0.png").unlink()
    _, [data] = await imported(sm, import_agentlab, path)
    assert (data.metadata or {})["not_captured"] == {
        "html": "the observation has neither dom_object nor dom_txt nor pruned_html",
        "screenshot": "the experiment has no screenshot of this step",
    }


async def test_jpeg(sm: StorageManager, path: Path) -> None:
    write_experiment(path, STEPS[:1], **{"screenshot_step_0.jpg": JPEG})
    (path / "screenshot_step_0.png").unlink()
    _, [data] = await imported(sm, import_agentlab, path)
    assert data.screenshot == JPEG


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("mouse_click(10.5, 20, 'left')", {"type": "mouse_click", "point": {"x": 10.5, "y": 20.0}}),
        ("click('7')", {"type": "click", "bid": "7"}),
        ("click('99')", {"type": "click"}),
        ("I am not sure.", {}),
        ("", {}),
    ],
)
async def test_actions(sm: StorageManager, path: Path, action: str, expected: dict[str, Any]) -> None:
    step = step_info(0, action, observation(), agent_info={})
    _, [data] = await imported(sm, import_agentlab, write_experiment(path, [step]))
    assert data.action == {**expected, "action": action}


class Evil:
    """Asks for a call when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/it-was-run",)


def zipped(data: bytes) -> bytes:
    """gzip without the time, which would be in the name of a test."""
    return gzip.compress(data, mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("step_0.pkl.gz", zipped(pickled(Evil())), r"step_0.pkl.gz: the pickle names posix.system"),
        ("exp_args.pkl", pickled(Evil()), r"exp_args.pkl: the pickle names posix.system"),
        ("goal_object.pkl.gz", zipped(pickled([Evil()])), r"goal_object.pkl.gz: the pickle names posix.system"),
        ("step_0.pkl.gz", zipped(pickled(ARGS)), "is not a step of an experiment"),
        ("step_0.pkl.gz", zipped(pickled({})), "is not a step of an experiment"),
        ("step_0.pkl.gz", pickled(STEPS[0]), "incorrect header check"),
        ("step_0.pkl.gz", zipped(pickled(STEPS[0]))[:-9], "is cut off"),
        ("step_0.pkl.gz", zipped(pickled(STEPS[0])) + b"x", "has bytes after its end"),
        ("step_0.pkl.gz", zipped(bytes(2**21)), "has more than 1048576 bytes when it is decompressed"),
        ("step_3.pkl.gz", b"", r"step_1.pkl.gz is missing"),
        ("summary_info.json", "{", "Expecting property name"),
        ("summary_info.json", "[]", "an object is expected"),
        ("summary_info.json", '{"cum_reward": "1"}', "'cum_reward' must be a number"),
        ("screenshot_step_0.png", b"GIF89a", "'screenshot_step_0.png' is not a PNG"),
    ],
)
async def test_what_is_refused(
    sm: StorageManager, path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: Any, why: str
) -> None:
    monkeypatch.setattr(folder, "MAX_UNPACKED", 2**20)
    step = step_info(0, None, observation(goal=None))
    with pytest.raises(InvalidDataError, match=why):
        await import_agentlab(sm, write_experiment(path, [step], **{name: content}))
    assert await sm.list_sessions() == []
    assert not Path("/tmp/it-was-run").exists()


async def test_links_and_claims(sm: StorageManager, path: Path) -> None:
    write_experiment(path, STEPS)
    os.truncate(path / "step_2.pkl.gz", 10 * 2**30)
    with pytest.raises(InvalidDataError, match="has 10737418240 bytes"):
        await import_agentlab(sm, path)
    (path / "step_2.pkl.gz").unlink()
    (path / "step_2.pkl.gz").symlink_to("/etc/passwd")
    with pytest.raises(InvalidDataError, match=r"'step_2.pkl.gz' leads out of the folder"):
        await import_agentlab(sm, path)
    with pytest.raises(InvalidDataError, match="it has no step_0"):
        await import_agentlab(sm, path.parent)
    assert await sm.list_sessions() == []


async def test_secrets_are_masked_everywhere(tmp_path: Path, path: Path) -> None:
    secret = "correct-horse"
    obs = observation(goal=secret, dom_txt=secret, axtree_txt=secret, url=f"http://{secret}/", dom_object=None)
    step = step_info(0, f"fill('6', '{secret}')", obs, task_info={"password": secret})
    sm = StorageManager(local_base_path=tmp_path / "base", redact=[secret])
    files = {"experiment.log": secret, "exp_args.pkl": pickled(EXP_ARGS(key=secret))}
    await import_agentlab(sm, write_experiment(path, [step], **files))
    stored = [file.read_bytes() for file in (tmp_path / "base").rglob("*") if file.is_file()]
    assert len(stored) == 11
    assert not [data for data in stored if secret.encode() in data]
    (path / "exp_args.pkl").write_bytes(b"cos\n" + secret.encode() + b"\n.")
    with pytest.raises(InvalidDataError, match=r"names os.\[redacted\]") as caught:
        await import_agentlab(sm, path, "other")
    assert caught.value.__cause__ is None
