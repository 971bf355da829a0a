"""Checks before a run whether everything that it needs exists: facts, checks and their report.

Nothing is created in the cluster: objects are offered to the server as dry runs only.
"""
