"""Input and output of Claude Code: command line, prompt, events, rendering.

No I/O here. Knows neither Prefect nor a Kubernetes client nor an event loop.
"""
