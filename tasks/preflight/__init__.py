"""Checks before a run whether everything that it needs exists: facts, checks and their report.

In the cluster nothing is created but dry runs; in the result storage one small file.
"""
