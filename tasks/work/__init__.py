"""What an agent made of its repository: the keeper's checkpoint, its check, and the result of it.

Knows the stream, Git and the file system, and trusts nothing that is in a checkpoint. Knows neither
flows nor stages, neither Prefect nor a Kubernetes client: whoever has the bytes feeds them.
"""
