"""What agents have used: records, budgets of a day, and tables for reports.

Unknown is never counted as zero.
"""
