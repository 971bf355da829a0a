"""Removing what runs have left behind: configuration, facts, rules, report and actions.

Jobs and flow runs are ended only under their agent's Lease, after a second look; Secrets and Leases
that nobody needs are deleted by the very version that was judged.
"""
