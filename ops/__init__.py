"""Keeping it alive: homes, nodes, the worker, the demonstration."""
