"""`claude-jobs local-cluster`: runs an embedded Kubernetes until Ctrl-C."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.local_processes import StartFailed, local_cluster_command, with_checkout


def local_cluster(
    context: typer.Context,
    kubeconfig: Annotated[
        Path,
        typer.Option(help="File that is written when the cluster is ready, deleted at its end."),
    ] = Path("local-cluster.kubeconfig"),
) -> None:
    """Run a Kubernetes API server with one node on this machine, until Ctrl-C or SIGTERM.

    Use it for experiments and tests: containers are ordinary processes without a sandbox. Further
    options, such as --port and --bin, are passed on; `python -m deployments.local --help` lists
    them.
    """
    try:
        command = local_cluster_command(["--kubeconfig", kubeconfig, *context.args])
    except StartFailed as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    # Replaces this process, so that it receives signals unchanged.
    os.execve(sys.executable, [str(word) for word in command], with_checkout(os.environ))
