"""Show sessions in a browser (extra `viewer`): all sessions live, or one session as one HTML file."""

from storage_manager.viewer.app import create_app, serve
from storage_manager.viewer.render import render_session

__all__ = ["create_app", "render_session", "serve"]
