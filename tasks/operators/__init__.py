"""What operators can do about agents: list, show, stop, pause and attach.

Every change is made while holding the agent's Lease, or by the run that holds it.
"""
