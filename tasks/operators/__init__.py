"""What operators ask and do beside runs: looking, stopping, pausing, taking over.

An agent is ended under its Lease, or through the run that holds it; a pause is a note on the Lease.
"""
