"""Looking before a run at everything that it needs: facts, checks and their report.

In the cluster nothing is created but dry runs; in the result storage one small file.
"""
