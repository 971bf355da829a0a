"""Sweeping up what runs have left: its settings, facts, rules, report and actions.

Jobs and flow runs are ended only under their agent's Lease, after a second look; Secrets and Leases
that nobody needs are deleted by the very version that was judged.
"""
