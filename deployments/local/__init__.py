"""A Kubernetes 1.36 API server, its controllers and one node, in one process, for tests and demos.

Nothing here is imported by flows, tasks or blocks, and it imports none of them: what passes
against it must pass on a real cluster, so the two may meet only over HTTPS.
"""
