"""Runs of agents in which values were replaced: each is imported, or refused with InvalidDataError and not stored."""

import copy
import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage_manager import InvalidDataError, StorageManager
from storage_manager.importers import import_agentlab, import_browser_use, import_webvoyager
from tests.support.agent_runs import STEP_INFO, history_item, pickled, write_files, write_history

VALUES = [None, True, 0, -1, 1.5, 10**400, 1e300, "", "x", "a\0b", "../x", "/etc/passwd", [], {}, [1], [[]], {"a": 1}]
SNAPSHOT = {
    "strings": ["html", "#text", "hi", "a", "b"],
    "documents": [
        {
            "nodes": {
                "parentIndex": [-1, 0, 1],
                "nodeType": [9, 1, 3],
                "nodeName": [-1, 0, 1],
                "nodeValue": [-1, -1, 2],
                "attributes": [[], [3, 4], []],
                "contentDocumentIndex": {"index": [], "value": []},
            }
        }
    ],
}
OBSERVATION = {
    "url": "http://shop.test/",
    "open_pages_titles": ["Shop"],
    "active_page_index": [0],
    "extra_element_properties": {"6": {"bbox": [1, 2, 3, 4]}},
    "dom_object": SNAPSHOT,
    "axtree_object": {"nodes": [{"nodeId": "1"}]},
    "last_action_error": "",
}
STEP = {"step": 0, "obs": OBSERVATION, "reward": 0, "action": "click('6')", "agent_info": {"think": "t"}}
STEP |= {"profiling": {"env_start": 1.0, "env_stop": 2.0}, "stats": {"n": 1}}
MESSAGES = [
    {"role": "system", "content": "Accessibility Tree"},
    {"role": "user", "content": [{"type": "text", "text": "x"}]},
    {"role": "assistant", "content": "Thought: t\nAction: Click [7]"},
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def mutated(value: Any, chance: random.Random) -> Any:
    """A copy in which one to five values are others, or absent."""
    value = copy.deepcopy(value)
    for _ in range(chance.choice((1, 1, 2, 5))):
        *above, last = chance.choice(list(places(value)) or [(None,)])
        target = value
        for key in above:
            target = target[key]
        if isinstance(target, dict) and chance.random() < 0.2:
            target.pop(last, None)
        elif last is not None:
            target[last] = copy.deepcopy(chance.choice(VALUES))
    return value


def history(directory: Path, chance: random.Random) -> tuple[Any, Path]:
    path = write_history(directory, [])
    path.write_text(json.dumps(mutated({"history": [history_item(1), history_item(2)], "usage": {}}, chance)))
    return import_browser_use, path


def task(directory: Path, chance: random.Random) -> tuple[Any, Path]:
    tree = mutated({"7": {"union_bound": [1, 2, 3, 4]}}, chance)
    files = {"interact_messages.json": mutated(MESSAGES, chance), "accessibility_tree1.json": tree}
    return import_webvoyager, write_files(directory, {name: json.dumps(value) for name, value in files.items()})


def experiment(directory: Path, chance: random.Random) -> tuple[Any, Path]:
    step = STEP_INFO(**mutated(STEP, chance))
    summary = mutated({"cum_reward": 1.0, "err_msg": None}, chance)
    args = mutated(
        {"agent_args": {"agent_name": "x", "m": {"model_name": "g"}}, "env_args": {"task_name": "t"}}, chance
    )
    files = {"step_0.pkl.gz": gzip.compress(pickled(step)), "exp_args.pkl": pickled(args)}
    return import_agentlab, write_files(directory, {**files, "summary_info.json": json.dumps(summary)})


@pytest.mark.parametrize("make", [history, task, experiment])
@pytest.mark.thorough
async def test_runs_with_other_values(tmp_path: Path, make: Any) -> None:
    outcomes = set()
    for seed in range(100):
        (tmp_path / f"run-{seed}").mkdir()
        importer, path = make(tmp_path / f"run-{seed}", random.Random(seed))
        sm = StorageManager(local_base_path=tmp_path / f"base-{seed}")
        try:
            session_id = await importer(sm, path)
            assert [step async for step in sm.iter_steps([session_id], strict=True)], seed
            outcomes.add("imported")
        except InvalidDataError:
            assert await sm.list_sessions() == [], seed
            outcomes.add("refused")
    assert outcomes == {"imported", "refused"}
