"""Sweeping up what runs have left: its settings, facts, rules, report and actions.

Objects are changed only under their agent's Lease, after a second look.
"""
