"""Seeing: find faces, follow them, name their expressions. Arrays in, values out; no I/O but loading a model."""
