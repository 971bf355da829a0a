"""A run in progress: what was asked, its connections, the Lease it holds, the attempt at work.

Used by the stages; knows none of them.
"""
