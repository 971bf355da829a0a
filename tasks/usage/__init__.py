"""Usage of agents: records, daily budgets, and tables for reports.

Unknown is never counted as zero.
"""
