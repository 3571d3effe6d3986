"""Sessions to look at in a browser (extra `viewer`): live for a place, or one session as one file."""

from storage_manager.viewer.app import create_app, serve
from storage_manager.viewer.render import render_session

__all__ = ["create_app", "render_session", "serve"]
