"""Results of WebVoyager become a session: each answer of the model with the screenshot that it was shown."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from storage_manager import InvalidDataError, StorageManager
from storage_manager.importers import import_webvoyager
from storage_manager.transitions import iter_transitions
from tests.support.agent_runs import PNG, imported, write_files


@pytest.fixture
def sm(tmp_path: Path) -> StorageManager:
    """A manager of an empty root."""
    return StorageManager(local_base_path=tmp_path / "base")


LABELS = "Imagine you are a robot. This screenshot will feature Numerical Labels."
TREES = "Imagine you are a robot. You will receive an Accessibility Tree with numerical label."
TASK = "Now given a task: Find a kettle.  Please interact with http://shop.test/ and get the answer."
FAILED = "The action you have chosen cannot be exected. Please double-check it."


def user(text: str, *, is_shown: bool = False) -> dict[str, Any]:
    """A message with the observation. Only the last of a run still has its image, as a placeholder."""
    if not is_shown:
        return {"role": "user", "content": text}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,{b64_img}"}}
    return {"role": "user", "content": [{"type": "text", "text": text}, image]}


def assistant(text: str) -> dict[str, Any]:
    """An answer of the model."""
    return {"role": "assistant", "content": text}


RUN = [
    {"role": "system", "content": LABELS},
    user(f"{TASK}Observation: A screenshot and some texts. (Omitted in context.)"),
    assistant("Thought: There is a search box.\n\nAction: Type [2]; kettle"),
    user("Observation: A screenshot and some texts. (Omitted in context.)"),
    assistant("Thought: I open it.\n\nAction: Click [7]"),
    user(FAILED),
    assistant("I would click."),
    user("Format ERROR: Both 'Thought' and 'Action' should be included in your reply."),
    assistant("Thought: Further down.\nAction: Scroll [WINDOW]; down"),
    user("Observation: please analyze the attached screenshot.", is_shown=True),
    assistant("Thought: There it is.\n\nAction: ANSWER; It costs 20."),
]
LOG = "INFO - Accumulate Prompt Tokens: 10; Accumulate Completion Tokens: 2\nINFO - finish!!\n"
LOG += "INFO - Accumulate Prompt Tokens: 900; Accumulate Completion Tokens: 50\nINFO - Total cost: 0.0105\n"


def write_task(tmp_path: Path, messages: Any, *screenshots: int, **files: bytes | str) -> Path:
    """The directory of a task."""
    shots = {f"screenshot{number}.png": PNG for number in screenshots}
    return write_files(
        tmp_path / "taskShop Test--4", {"interact_messages.json": json.dumps(messages), **shots, **files}
    )


async def test_a_transition_begins_at_the_screenshot_on_which_the_action_was_chosen(
    sm: StorageManager, tmp_path: Path
) -> None:
    messages = [*RUN[:5], *RUN[9:]]
    shots = {f"screenshot{number}.png": PNG + bytes([number]) for number in (1, 2, 3)}
    await imported(sm, import_webvoyager, write_task(tmp_path, messages, **shots))
    found = [each async for each in iter_transitions(sm)]
    pages = [[page and page.screenshot for page in (each.before, each.after)] for each in found]
    first, second, third = shots.values()
    assert pages == [[first, second], [second, third], [third, None]]
    assert [each.action["type"] for each in found] == ["type", "click", "answer"]


async def test_a_task(sm: StorageManager, tmp_path: Path) -> None:
    files = {"agent.log": LOG, "screenshot1_no_box.png": PNG, "prices.pdf": b"%PDF"}
    path = write_task(tmp_path, RUN, 1, 2, 5, **files)
    about, steps = await imported(sm, import_webvoyager, path)
    assert await sm.list_sessions() == ["taskShop-Test--4"]
    assert about == {
        "goal": "Find a kettle.",
        "start_url": "http://shop.test/",
        "result": "It costs 20.",
        "agent": "WebVoyager",
        "usage": {"input_tokens": 900, "output_tokens": 50},
        "observed": "before",
        "source": "webvoyager",
    }
    assert [step.action for step in steps] == [
        {
            "type": "type",
            "number": "2",
            "content": "kettle",
            "action": "Type [2]; kettle",
            "thought": "There is a search box.",
        },
        {"type": "click", "number": "7", "action": "Click [7]", "thought": "I open it.", "error": FAILED},
        {"text": "I would click.", "error": RUN[7]["content"]},
        {
            "type": "scroll",
            "number": "WINDOW",
            "content": "down",
            "action": "Scroll [WINDOW]; down",
            "thought": "Further down.",
        },
        {"type": "answer", "content": "It costs 20.", "action": "ANSWER; It costs 20.", "thought": "There it is."},
    ]
    assert [step.screenshot for step in steps] == [PNG, PNG, None, None, PNG]
    why = "WebVoyager takes none if the action before could not be carried out"
    assert [(step.metadata or {})["not_captured"].get("screenshot") for step in steps] == [None, None, why, why, None]
    assert await sm.list_attachments("taskShop-Test--4") == ["agent.log", "prices.pdf"]
    assert await sm.list_attachments("taskShop-Test--4", "step_000001") == ["message.txt", "screenshot_no_box.png"]
    message = await sm.retrieve_attachment("taskShop-Test--4", "message.txt", "step_000005")
    assert message == b"Observation: please analyze the attached screenshot."


async def test_the_file_of_the_messages_may_be_given(sm: StorageManager, tmp_path: Path) -> None:
    path = write_task(tmp_path, RUN, 1)
    assert await import_webvoyager(sm, path / "interact_messages.json") == "taskShop-Test--4"


async def test_a_last_observation_without_an_action(sm: StorageManager, tmp_path: Path) -> None:
    _, steps = await imported(sm, import_webvoyager, write_task(tmp_path, RUN[:4], 1, 2))
    assert [step.action is None for step in steps] == [False, True]
    assert steps[1].screenshot == PNG


async def test_the_other_actions(sm: StorageManager, tmp_path: Path) -> None:
    run = [
        RUN[0],
        *(
            message
            for text in ("Wait", "GoBack", "Google", "Dance")
            for message in (user("x"), assistant(f"Thought: t\nAction: {text}"))
        ),
    ]
    _, steps = await imported(sm, import_webvoyager, write_task(tmp_path, run))
    assert [(step.action or {}).get("type") for step in steps] == ["wait", "goback", "google", None]


@pytest.mark.parametrize(("prompt", "has_box"), [(TREES, True), (LABELS, False)])
async def test_the_box_is_that_of_the_accessibility_tree(
    sm: StorageManager, tmp_path: Path, prompt: str, has_box: bool
) -> None:
    """If the model was shown a screenshot, the numbers are others: those of its labels."""
    run = [{"role": "system", "content": prompt}, user(TASK), assistant("Thought: t\nAction: Click [7]")]
    tree = {"7": {"backend_id": 9, "union_bound": [10.0, 20.0, 30.0, 40.0], "text": "[7] button 'Buy'"}}
    files = {"accessibility_tree1.json": json.dumps(tree), "accessibility_tree1.txt": "[7] button 'Buy'"}
    _, [step] = await imported(sm, import_webvoyager, write_task(tmp_path, run, **files))
    assert step.action is not None
    assert step.action.get("box") == ({"x": 10.0, "y": 20.0, "width": 30.0, "height": 40.0} if has_box else None)
    assert step.action.get("point") == ({"x": 25.0, "y": 40.0} if has_box else None)
    assert await sm.retrieve_attachment("taskShop-Test--4", "axtree.txt", "step_000001") == b"[7] button 'Buy'"


@pytest.mark.parametrize(
    "tree", [[], {"7": 1}, {"7": {"union_bound": [1, 2]}}, {"7": {"union_bound": [1, 2, 3, "4"]}}, {}]
)
async def test_trees_without_a_box(sm: StorageManager, tmp_path: Path, tree: Any) -> None:
    run = [{"role": "system", "content": TREES}, user(TASK), assistant("Thought: t\nAction: Click [7]")]
    _, [step] = await imported(
        sm, import_webvoyager, write_task(tmp_path, run, **{"accessibility_tree1.json": json.dumps(tree)})
    )
    assert step.action == {"type": "click", "number": "7", "action": "Click [7]", "thought": "t"}


async def test_a_box_of_numbers_that_are_too_large(sm: StorageManager, tmp_path: Path) -> None:
    run = [{"role": "system", "content": TREES}, user(TASK), assistant("Thought: t\nAction: Click [7]")]
    tree = json.dumps({"7": {"union_bound": [1, 2, 10**400, 4]}})
    with pytest.raises(InvalidDataError, match="too large"):
        await import_webvoyager(sm, write_task(tmp_path, run, **{"accessibility_tree1.json": tree}))
    assert await sm.list_sessions() == []


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ({}, "must be a list of messages, not dict"),
        ([], "it has no steps"),
        ([1], "message 1: an object is expected"),
        ([{"content": "x"}], "'role' is missing"),
        ([{"role": "user", "content": 7}], "'content' must be a list"),
        ([{"role": "user", "content": ["x"]}], "an object is expected, not str"),
    ],
)
async def test_what_is_not_a_list_of_messages(sm: StorageManager, tmp_path: Path, messages: Any, why: str) -> None:
    with pytest.raises(InvalidDataError, match=why):
        await import_webvoyager(sm, write_task(tmp_path, messages))
    assert await sm.list_sessions() == []


async def test_many_large_files_are_not_all_read(
    sm: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage_manager.importers.webvoyager._MAX_OTHERS", 2500, raising=False)
    path = write_task(tmp_path, RUN, 1, **{f"{name}.pdf": b"%PDF" + bytes(1000) for name in "abc"})
    with pytest.raises(InvalidDataError, match="PDF files have more than 2500 bytes"):
        await import_webvoyager(sm, path)


async def test_what_is_refused_of_the_directory(sm: StorageManager, tmp_path: Path) -> None:
    with pytest.raises(InvalidDataError, match=r"it has no interact_messages.json: give the directory of one task"):
        await import_webvoyager(sm, write_files(tmp_path / "empty", {"x.txt": ""}))
    with pytest.raises(InvalidDataError, match="it is not a directory"):
        await import_webvoyager(sm, tmp_path / "empty" / "x.txt")
    path = write_task(tmp_path, RUN, 2)
    (path / "screenshot1.png").symlink_to("/etc/passwd")
    with pytest.raises(InvalidDataError, match=r"the path 'screenshot1.png' leads out of the folder"):
        await import_webvoyager(sm, path)
    (path / "screenshot1.png").unlink()
    (path / "screenshot1.png").write_bytes(b"root:x:0")
    with pytest.raises(InvalidDataError, match=r"'screenshot1.png' is not a PNG"):
        await import_webvoyager(sm, path)
    os.truncate(path / "interact_messages.json", 10 * 2**30)
    with pytest.raises(InvalidDataError, match="has 10737418240 bytes"):
        await import_webvoyager(sm, path)
    assert await sm.list_sessions() == []
