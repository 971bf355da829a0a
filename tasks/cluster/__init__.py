"""The I/O shell around the Kubernetes API: the only package that imports a Kubernetes client.

It exchanges plain JSON and raises its own errors; no decision about a run is made here.
"""
