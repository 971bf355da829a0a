"""What operators can do about agents: list, show, stop, pause and attach.

An agent is ended under its Lease, or through the run that holds it; a pause is a note on the Lease.
"""
