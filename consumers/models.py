"""Imports every consumer of this folder: here Django looks for an app's tables, and theirs lie in their own files."""

import pkgutil
from importlib import import_module

import consumers

for module in pkgutil.iter_modules(consumers.__path__):
    if not module.ispkg:
        import_module(f"consumers.{module.name}")
