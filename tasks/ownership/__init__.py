"""Who owns an agent: Lease, the guard's decision, orphans, commitment, pause, next attempt.

No I/O here. Every decision is a pure function of what was read; time is an argument.
"""
