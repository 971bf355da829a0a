"""Kinds of objects, and what can be done with each; what is only ever read stands together.

A call is one request, or one for each page of a list, repeated only as its retry policy says.
"""
