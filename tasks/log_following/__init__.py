"""Following an agent's output through the Kubernetes API, each line exactly once.

What to read next is decided in `tasks.transcript`; here it is read, spooled and handed on.
"""
