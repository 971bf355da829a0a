"""Configuration that people save in Prefect: which agent runs, and where.

Blocks hold and validate values; they do no I/O and build no manifests.
"""
