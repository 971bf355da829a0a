"""Follows an agent's output through the Kubernetes API, each line exactly once.

`tasks.transcript` decides what to read next; here it is read, spooled and delivered.
"""
