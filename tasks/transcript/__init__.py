"""The transcript: its line grammar, the run script, and what to read next.

No network and no event loop here; the only I/O is the spool, a file on the local disk.
"""
