"""Usage of agents: records, daily budgets, and tables for reports.

An unknown cost is left out and named, never shown as zero.
"""
