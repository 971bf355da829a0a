"""An agent's work on a remote repository: pushed, made a pull request, and looked at afterwards.

Knows Git, HTTP and the result storage. Knows neither Prefect nor a Kubernetes client, and nothing
of runs: whoever has the bundle and the credentials hands them over.
"""
