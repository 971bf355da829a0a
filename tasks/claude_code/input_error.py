class AgentInputError(Exception):
    """What was given cannot be made into a command line or a prompt; `str()` says why to people."""
