"""Ids, names, labels, error codes, errors, delays: the words and measures that every room uses.

No I/O here. Imports no other package of ours.
"""
