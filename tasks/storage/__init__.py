"""What is kept after the pod is gone: result storage, results, their keys, sessions of tasks.

"Missing" and "not readable" are different answers.
"""
