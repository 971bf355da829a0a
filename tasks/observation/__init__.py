"""What was seen of Jobs, pods and containers, and when waiting for them is over.

No I/O here. Snapshots are frozen values of one instant; the time is an argument.
"""
