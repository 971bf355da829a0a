"""What operators ask and do beside runs: looking, stopping, pausing, taking over.

Whatever is changed is changed under the agent's Lease, or through the run that holds it.
"""
