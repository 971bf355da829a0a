"""Configuration that people save in Prefect: who runs, and where.

Blocks hold values and check them; they do no I/O and build no manifest.
"""
