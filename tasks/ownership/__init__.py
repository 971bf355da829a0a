"""Who owns an agent: Lease, guard's decision, orphans, commitment, pause, next attempt.

No I/O here. Every decision is a pure function of what was read; the time is an argument.
"""
