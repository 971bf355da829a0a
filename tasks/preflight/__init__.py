"""Looking before a run at everything that it needs: facts, checks and their report.

Nothing is created but dry runs.
"""
