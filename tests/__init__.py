"""Makes what the tests share importable as ``tests.*``, under pytest and mypy alike."""
