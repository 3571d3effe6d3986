"""Callbacks and adapters for agents of other projects. Each module is for one project, and does not import it."""

__all__: list[str] = []
