"""Record agents of browser-use (https://github.com/browser-use/browser-use), with one argument:

    async with record(storage, "run-1") as recorder:
        agent = browser_use.Agent(task, llm, register_new_step_callback=step_callback(recorder))
        await agent.run()

browser-use is not imported. The attributes that this module reads are those of version 0.13.
"""

import base64
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import FrameType
from typing import Any
from urllib.parse import urldefrag

from storage_manager.encoding import without_surrogates
from storage_manager.errors import attempt
from storage_manager.integrations.devtools import Frame, Send, read_frames
from storage_manager.recorder import Recorder
from storage_manager.recorder.calls import call_all, failures, values
from storage_manager.recorder.capture import reason_of
from storage_manager.recorder.script import COPY

__all__ = ["step_callback"]

MAX_ERRORS = 100  # errors of steps that the session's metadata has
SECONDS = 5.0  # to ask the agent for its result
_THOUGHTS = ("thinking", "evaluation_previous_goal", "memory", "next_goal")
_OF_AGENT = {"register_new_step_callback", "task", "history"}  # attributes by which an agent is recognized
_CONTENT = f"() => ({COPY})({{elements: [], marks: [], prefix: '', characters: 0, secret: ''}}).html"
_NO_AGENT = "the agent was not found: give the callback itself to browser_use.Agent, or also to run(on_step_start=...)"


def step_callback(recorder: Recorder) -> Callable[..., Any]:
    """Return a callback for `browser_use.Agent(register_new_step_callback=...)`, which records every step of the agent.

    A step has what the agent saw (URL, title, screenshot), the HTML of the page, and the answer of the model: one
    action or `{"actions": [...]}`, with its thoughts. The page is observed before the action. The HTML is read after
    the model has answered. If the page has another address by then, the HTML is left out, and `not_captured` has the
    reason.

    When the block ends, the session gets `goal`, `agent`, `model`, `usage`, `outcome`, `result` and `errors`, unless
    `record` or `finish` got these fields. If storing fails, the agent continues, and the error is raised when the block
    ends. Use one callback per agent.

    Raises:
        InvalidDataError: the redactor of the storage can redact only steps.
    """
    run = _Run(recorder)
    recorder.before_end(run.about)
    return run.on_step


class _Run:
    """One run of an agent."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._agent: Any = None

    async def on_step(self, state: Any, output: Any = None, number: int | None = None) -> None:
        """Record a step. A call with one argument comes from a hook of `agent.run`, and the argument is the agent."""
        if output is None and number is None:
            self._agent = state
            return
        self._agent = _calling_agent() or self._agent
        action = attempt(lambda: _action_of(output)) if output is not None else None
        if isinstance(action, Exception):
            action = {"not_captured": reason_of(action)}  # whole: of a part, no secret can be masked
        await self._recorder.try_step(_Page(state, self._agent), action, _metadata_of(state, number))

    async def about(self) -> dict[str, Any]:
        """Return the metadata of the session that is known at the end of the run."""
        about = {"observed": "before", "agent": "browser-use"}
        if self._agent is None:
            return about
        calls = {name: (partial(ask, self._agent), object) for name, ask in _ABOUT.items()}
        answers = await call_all(calls, SECONDS)
        known = {name: value for name, value in values(answers).items() if value not in (None, [], {})}
        reasons = {name: reason_of(error) for name, error in failures(answers).items()}
        return {**about, **_storable(known), **({"not_captured": reasons} if reasons else {})}


def _calling_agent() -> Any:
    """Return the agent that called this callback, directly or indirectly, or None.

    browser-use passes the agent to the hooks of `run`, but not to this callback, which an Agent calls directly.
    """
    frame: FrameType | None = inspect.currentframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if getattr(owner, "__dict__", {}).keys() >= _OF_AGENT:
            return owner
        frame = frame.f_back
    return None


def _action_of(output: Any) -> dict[str, Any]:
    """Return the actions of the model with its thoughts. The field `thought`, which the viewer shows, repeats one."""
    actions = [action.model_dump(exclude_none=True, mode="json") for action in output.action]
    said = {name: getattr(output, name, None) for name in _THOUGHTS}
    thoughts = {name: value for name, value in said.items() if value}
    first = next((value for name, value in thoughts.items() if name != "evaluation_previous_goal"), None)
    done = dict(actions[0]) if len(actions) == 1 else {"actions": actions}
    found: dict[str, Any] = _storable({**done, **({"thought": first} if first else {}), **thoughts})
    return found


def _metadata_of(state: Any, number: int | None) -> dict[str, Any]:
    """Return the metadata of the moment at which the agent observed the page."""
    info = getattr(state, "page_info", None)
    scroll = {"x": info.scroll_x, "y": info.scroll_y} if info else None
    about = {"observed": "before", "source": "browser-use", "agent_step": number, "scroll": scroll}
    return {name: value for name, value in about.items() if value is not None}


def _storable(value: Any) -> Any:
    """Return a value without lone surrogates. Models may write them, but UTF-8 cannot encode them."""
    if isinstance(value, str):
        return value if value.isascii() else "".join(without_surrogates(value))
    if isinstance(value, Mapping):
        return {_storable(name): _storable(item) for name, item in value.items()}
    return [_storable(item) for item in value] if isinstance(value, list) else value


class _Page:
    """A page as the agent saw it, with the methods of a page that the recorder calls."""

    def __init__(self, state: Any, agent: Any) -> None:
        self._state, self._agent = state, agent
        self.url: str = state.url
        info = getattr(state, "page_info", None)
        self.viewport_size = info and {"width": info.viewport_width, "height": info.viewport_height}
        self.frames: list[Frame] = []

    @property
    def main_frame(self) -> Frame:
        if not self.frames:
            raise AttributeError("the frames of the page are not known")
        return self.frames[0]

    def screenshot(self, full_page: bool = False) -> bytes:
        """Return the screenshot that the agent saw."""
        if full_page:
            raise NotImplementedError("browser-use takes screenshots of the viewport only: record without full_page")
        image = getattr(self._state, "screenshot", None) or self._saved_screenshot()
        if not isinstance(image, str):
            raise LookupError(getattr(self._state, "state_error", None) or "browser-use took no screenshot")
        return base64.b64decode(image)

    def _saved_screenshot(self) -> str | None:
        """Return the screenshot that an agent of `browser_use.beta` saved in a file."""
        saved: str | None = self._state.get_screenshot() if hasattr(self._state, "get_screenshot") else None
        return saved

    async def title(self) -> str:
        """Return the title of the page. The title in browser-use's state may be older than the loaded page."""
        said = await call_all({"title": (partial(self.evaluate, "() => document.title"), str)}, SECONDS)
        title: str = values(said).get("title", self._state.title)
        return title

    async def content(self, include_shadow: bool = True) -> str:
        """Return the HTML of the page as it is now."""
        html: str = await self.evaluate(_CONTENT)
        return html

    async def evaluate(self, function: str, given: object = None) -> Any:
        """Call a function in the page, as Playwright does.

        Raises:
            LookupError: the address of the page is no longer the one that the agent saw.
        """
        self.frames = self.frames or await read_frames(self._open)
        url = await self.main_frame.evaluate("() => location.href")
        if not self._is_shown(url):
            raise LookupError(f"the page went to {url} before its HTML could be read")
        return await self.main_frame.evaluate(function, given)

    async def _open(self, target_id: str | None) -> Send:
        if self._agent is None:
            raise LookupError(_NO_AGENT)
        session = await self._agent.browser_session.get_or_create_cdp_session(target_id, focus=False)

        async def send(command: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
            answer: Mapping[str, Any] = await session.cdp_client.send_raw(command, given, session_id=session.session_id)
            return answer

        return send

    def _is_shown(self, url: str) -> bool:
        """Return True if this is the address that the agent saw, or if the agent saw no web address."""
        return urldefrag(url)[0] == urldefrag(self.url)[0] or not self.url.startswith("http")


async def _usage(agent: Any) -> dict[str, Any] | None:
    usage = agent.history.usage or await agent.token_cost_service.get_usage_summary()
    if not usage.entry_count:  # the model said nothing of its usage
        return None
    tokens = {"input_tokens": usage.total_prompt_tokens, "output_tokens": usage.total_completion_tokens}
    return {**tokens, **({"cost_usd": usage.total_cost} if usage.total_cost else {})}


def _outcome(agent: Any) -> str | None:
    """Return "success" if the agent reports that it has finished successfully, and "failure" otherwise."""
    if not agent.history.history:
        return None
    return "success" if agent.history.is_successful() else "failure"


def _errors(agent: Any) -> list[dict[str, Any]]:
    errors = enumerate(agent.history.errors(), start=1)
    return [{"agent_step": number, "error": error} for number, error in errors if error][:MAX_ERRORS]


_ABOUT: dict[str, Callable[[Any], Any]] = {
    "goal": lambda agent: agent.task,
    "agent_version": lambda agent: agent.version,
    "model": lambda agent: agent.llm.model,
    "usage": _usage,
    "outcome": _outcome,
    "result": lambda agent: agent.history.final_result(),
    "judgement": lambda agent: agent.history.judgement(),
    "errors": _errors,
}
