"""Watches that go on: one Job's observer, and feeds that many observers share.

A failed read is never taken for an ending.
"""
