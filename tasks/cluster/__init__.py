"""The I/O shell around the Kubernetes API: the only package that imports a Kubernetes client.

It speaks raw JSON, raises its own errors and takes no decision about a run. It knows nothing of
agents: Jobs and pods are anybody's.
"""
