"""Many runs in one process: request, running members, and report.

The failure of one run does not stop the others.
"""
