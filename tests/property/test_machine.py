"""Whatever is done in whatever order, storage holds what a dict would hold: on disk, on S3, and on both alike."""

import asyncio
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from storage_manager import LocalStorageError, S3OperationError, Step, StepData, StorageManager, StorageManagerError
from storage_manager.layout import ALL_COMPONENTS, COMPONENTS

pytestmark = pytest.mark.thorough

PROPERTY = settings.get_profile("property")
At = Callable[[str], StorageManager]
Call = Callable[[StorageManager], Awaitable[Any]]

ALIKE = ("a", "a-", "a.b", "a=1", "a0")  # each begins like the first; S3 sorts some of them before `a/`, some after
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
GENERATED = st.builds(str.__add__, st.sampled_from(LETTERS), st.text(LETTERS + "_.:=@+,~-", max_size=127)).filter(
    lambda name: "::" not in name and not name.endswith(".")
)
JSON = st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.floats(-1, 1) | st.text(max_size=5))
DATA = st.builds(StepData, *(st.none() | values for values in (st.text(), st.binary(), JSON, JSON)))
SOME = st.lists(st.sampled_from(ALL_COMPONENTS), unique=True)

SPOILED: Any = object()  # the model's value of a component that nobody can decode
BAD_BYTES = {"html": b"\xff", "action": b'{"a":', "metadata": b"[1]"}

REFUSED: list[tuple[Call, str]] = [
    (lambda sm: sm.store_step_data("a", "a\n", "kept out"), "InvalidIdError: step_id"),
    (lambda sm: sm.store_step_data("a", "a", "kept out", metadata={"x": float("nan")}), "InvalidDataError: metadata"),
    (lambda sm: sm.store_steps([Step("a", "a", None)]), "InvalidDataError: store_steps"),  # type: ignore[arg-type]
    (lambda sm: sm.retrieve_step_data("a", "..", components=["html"]), "InvalidIdError: step_id"),
    (lambda sm: sm.retrieve_step_data("a", "a", components=["px"]), "InvalidDataError: no component"),  # type: ignore[list-item]
    (lambda sm: sm.delete_session("a/../a"), "InvalidIdError: session_id"),
    (lambda sm: sm.delete_step("a", "*"), "InvalidIdError: step_id"),
]


def readable(data: StepData) -> StepData:
    """What a reader gets of a step."""
    return StepData(*(None if value is SPOILED else value for value in data))


def merged(old: StepData, new: StepData) -> StepData:
    """A step after what is given was stored in it."""
    return StepData(*(one if two is None else two for one, two in zip(old, new, strict=True)))


async def answer(manager: StorageManager, call: Call) -> str:
    """What a call returns, or the class and text of its error; without the root, and without the backend's name."""
    try:
        text = repr(await call(manager))
    except (LocalStorageError, S3OperationError) as error:
        text = f"failed: {error}"
    except StorageManagerError as error:
        text = f"{type(error).__name__}: {error}"
    return text.replace(manager.url_for(), "ROOT")


async def listing(manager: StorageManager) -> dict[str, list[str]]:
    """All sessions, each with its steps."""
    return {name: await manager.list_steps_for_session(name) for name in await manager.list_sessions()}


async def everything(manager: StorageManager, **kwargs: Any) -> list[Step]:
    """All steps."""
    return [step async for step in manager.iter_steps(**kwargs)]


async def files(manager: StorageManager) -> tuple[list[str], list[str]]:
    """The directories at the root and every file below it, hidden ones too, past the code under test."""
    fs, root = manager.async_fs, manager.url_for()
    names = [name async for page in fs.iter_names(root) for name in page]
    bare = root.removeprefix("s3://")
    return names, sorted(path.removeprefix(bare) for path in manager.fs.find(root))


async def spoilt(manager: StorageManager, session: str, step: str, component: Any) -> None:
    """Write a component that nobody can decode, past the code under test."""
    manager.fs.pipe_file(manager.url_for(session, step, component), BAD_BYTES[component])


async def copied(source: StorageManager, old: str, target: StorageManager, new: str) -> int:
    """How many steps were copied."""
    return await target.store_steps(step._replace(session_id=new) async for step in source.iter_steps([old]))


class Machine(RuleBasedStateMachine):
    """Managers, and beside them the model: what they should hold."""

    ids = Bundle("ids")
    pairs = Bundle("pairs")  # of session and step; where something was stored, that is most likely still there

    def __init__(self, backends: list[At], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.run, self.backends = loop.run_until_complete, backends
        self.name = uuid.uuid4().hex
        self.managers = [deque([at(self.name)]) for at in backends]  # of each backend, whose turn it is first
        self.elsewhere = [at(f"{self.name}-copy") for at in backends]
        self.model: dict[str, dict[str, StepData]] = {}

    def ask(self, call: Call) -> str:
        """The one answer of all backends; the next call goes to the next manager of each."""
        answers = [self.run(answer(managers[0], call)) for managers in self.managers]
        for managers in self.managers:
            managers.rotate()
        assert answers == answers[:1] * len(answers)
        return answers[0]

    def put(self, session: str, step: str, data: StepData) -> None:
        """Store in the model: where nothing is given, nothing appears."""
        if data != StepData():
            steps = self.model.setdefault(session, {})
            steps[step] = merged(steps.get(step, StepData()), data)

    def at(self, session: str, step: str) -> StepData:
        return self.model.get(session, {}).get(step, StepData())

    def steps(self, session: str) -> list[Step]:
        """What iteration should give of a session."""
        return [Step(session, name, readable(data)) for name, data in sorted(self.model.get(session, {}).items())]

    @initialize(target=ids)
    def like_each_other(self) -> Any:
        return multiple(*ALIKE)

    @initialize(target=pairs)
    def nothing_is_there(self) -> Any:
        return "a", "a"

    @rule(target=ids, name=GENERATED)
    def any_other(self, name: str) -> str:
        return name

    @rule(target=pairs, session=ids, step=ids, data=DATA)
    def store(self, session: str, step: str, data: StepData) -> tuple[str, str]:
        files = {row: f"ROOT/{session}/{step}/{row.filename}" for row in COMPONENTS}
        paths = {row.path_key: None if getattr(data, row.name) is None else files[row] for row in COMPONENTS}
        assert self.ask(lambda sm: sm.store_step_data(session, step, *data)) == repr(paths)
        self.put(session, step, data)
        return session, step

    @rule(pair=pairs, data=DATA)
    def store_again(self, pair: tuple[str, str], data: StepData) -> None:
        self.store(*pair, data)

    @rule(steps=st.dictionaries(st.tuples(ids, ids), DATA, max_size=4), concurrency=st.integers(1, 3))
    def store_many(self, steps: dict[tuple[str, str], StepData], concurrency: int) -> None:
        many = [Step(*ids, data) for ids, data in steps.items()]
        assert self.ask(lambda sm: sm.store_steps(many, concurrency=concurrency)) == repr(len(many))
        for step in many:
            self.put(step.session_id, step.step_id, step.data)

    @rule(pair=pairs, component=st.sampled_from(sorted(BAD_BYTES)))
    def spoil(self, pair: tuple[str, str], component: Any) -> None:
        """Somebody else writes what is no component."""
        session, step = pair
        assert self.ask(lambda sm: spoilt(sm, session, step, component)) == "None"
        self.put(session, step, StepData(**{component: SPOILED}))

    @rule(pair=pairs, components=SOME, strict=st.booleans())
    def retrieve(self, pair: tuple[str, str], components: list[Any], strict: bool) -> None:
        session, step = pair
        data = StepData(**{name: getattr(self.at(session, step), name) for name in components})
        spoiled = [row.filename for row, value in zip(COMPONENTS, data, strict=True) if value is SPOILED]
        found = self.ask(lambda sm: sm.retrieve_step_data(session, step, components=components, strict=strict))
        if strict and spoiled:
            assert found.startswith(f"failed: cannot retrieve ROOT/{session}/{step}/{spoiled[0]}: ")
        else:
            assert found == repr(readable(data))

    @rule(session=ids)
    def list_steps(self, session: str) -> None:
        assert self.ask(lambda sm: sm.list_steps_for_session(session)) == repr(sorted(self.model.get(session, {})))

    @rule(concurrency=st.integers(1, 5))
    def iterate(self, concurrency: int) -> None:
        steps = [step for session in sorted(self.model) for step in self.steps(session)]
        assert self.ask(lambda sm: everything(sm, concurrency=concurrency)) == repr(steps)

    @rule()
    def look_at_the_files(self) -> None:
        names = [row.filename for row in COMPONENTS]
        steps = [(f"/{session}/{step}", data) for session, steps in self.model.items() for step, data in steps.items()]
        there = [
            f"{url}/{name}" for url, data in steps for name, value in zip(names, data, strict=True) if value is not None
        ]
        assert self.ask(files) == repr((sorted(self.model), sorted(there)))

    @rule(pair=pairs)
    def delete_step(self, pair: tuple[str, str]) -> None:
        session, step = pair
        assert self.ask(lambda sm: sm.delete_step(session, step)) == "None"
        steps = self.model.get(session, {})
        steps.pop(step, None)
        if not steps:
            self.model.pop(session, None)

    @rule(session=ids)
    def delete_session(self, session: str) -> None:
        assert self.ask(lambda sm: sm.delete_session(session)) == "None"
        self.model.pop(session, None)

    @rule(refused=st.sampled_from(REFUSED))
    def refuse(self, refused: tuple[Call, str]) -> None:
        call, text = refused
        assert self.ask(call).startswith(text)

    @rule(pair=pairs, new=ids)
    def copy(self, pair: tuple[str, str], new: str) -> None:
        old, _ = pair
        steps = self.steps(old)
        assert self.ask(lambda sm: copied(sm, old, sm, new)) == repr(len(steps))
        for step in steps:
            self.put(new, step.step_id, step.data)

    @rule(pair=pairs)
    def copy_elsewhere(self, pair: tuple[str, str]) -> None:
        """To another place: of the other backend, where there are two."""
        session, _ = pair
        whole = [step for step in self.steps(session) if step.data != StepData()]
        for managers, other in zip(self.managers, reversed(self.elsewhere), strict=True):
            self.run(copied(managers[0], session, other, session))
            assert repr(self.run(everything(other))) == repr(whole)
            self.run(other.delete_session(session))

    @precondition(lambda self: len(self.managers[0]) < 3)
    @rule(close=st.booleans())
    def another_manager(self, close: bool) -> None:
        """One more manager of the same place; the others stay in use, closed or not."""
        for managers, at in zip(self.managers, self.backends, strict=True):
            if close:
                self.run(managers[0].aclose())
            managers.append(at(self.name))

    @invariant()
    def is_listed(self) -> None:
        assert self.ask(listing) == repr({session: sorted(self.model[session]) for session in sorted(self.model)})

    def teardown(self) -> None:
        for managers in self.managers:
            for session in self.model:
                self.run(managers[0].delete_session(session))
            for manager in (*managers, *self.elsewhere):
                self.run(manager.aclose())


@pytest.mark.parametrize(
    ("backends", "more"),
    [
        (["local_at"], 4),  # a disk is that much quicker
        (["local_at", "s3fs_at", "obstore_at"], 1),
    ],
    ids=["disk", "disk, s3fs and obstore"],
)
def test_storage_holds_what_a_dict_would_hold(
    backends: list[str], more: int, request: pytest.FixtureRequest, loop: asyncio.AbstractEventLoop
) -> None:
    """Every call answers as the model says, and with two backends, each as the other."""
    places = [request.getfixturevalue(name) for name in backends]
    run_state_machine_as_test(
        lambda: Machine(places, loop), settings=settings(PROPERTY, max_examples=PROPERTY.max_examples * more)
    )
