"""Ids, names, labels, error codes, errors, delays: the words and measures that all rooms share.

No I/O here. Imports no other package of ours.
"""
