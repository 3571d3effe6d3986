"""What tests share: servers, browsers, sample sessions, and scripts that run as processes of their own."""

from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the checkout
