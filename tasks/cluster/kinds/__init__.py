"""One module for each kind of object: reading, creating, changing and deleting it.

A call is one request, repeated only as its retry policy says.
"""
