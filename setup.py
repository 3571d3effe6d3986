"""Run setuptools, which reads setup.cfg. Some tools look for this file."""

from setuptools import setup

setup()
