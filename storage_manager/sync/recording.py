"""record"""
__all__ = ["Recorder", "record"]
Recorder = record = None
