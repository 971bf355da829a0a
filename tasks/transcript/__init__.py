"""The transcript: its line grammar, the run script, and what to read next.

No I/O here: bytes come in, lines and the next step go out. The time is an argument.
"""
