"""The command line: the application, and one module for each command or group of commands.

Commands import Prefect late, so that an invalid request is rejected at once.
"""
