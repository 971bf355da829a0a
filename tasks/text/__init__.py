"""Text for people: Markdown, control characters, quotes, redaction, log records.

No I/O here. Knows nothing about agents, Jobs or runs.
"""
