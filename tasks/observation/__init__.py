"""Snapshots of Jobs, pods and containers, and the rules for when a wait for them ends.

No I/O here. Snapshots are frozen values, read at one time; time is an argument.
"""
