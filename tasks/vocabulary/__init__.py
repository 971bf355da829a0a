"""Ids, names, labels, error codes and errors: the words that every room uses.

No I/O here. Imports no other package of ours.
"""
