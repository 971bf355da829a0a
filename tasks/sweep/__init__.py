"""Removing what runs have left behind: configuration, facts, rules, report and actions.

Objects are changed only while holding their agent's Lease, after they were read again.
"""
