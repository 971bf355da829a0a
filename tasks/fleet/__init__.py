"""Many runs in one process: what is asked, who is at work, and the report.

One run that fails stops no other.
"""
