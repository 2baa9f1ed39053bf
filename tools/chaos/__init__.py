"""Faults on the whole running product, and a checker of effects. Run by `script/chaos`; described in docs/chaos.md."""
