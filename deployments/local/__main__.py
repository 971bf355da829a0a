"""`python -m deployments.local`: run the cluster until SIGTERM or SIGINT."""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from deployments.local.cluster import ClusterOptions, LocalCluster
from deployments.local.containers import StartError


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m deployments.local",
        description="A Kubernetes API server and one node in one process, for tests and demos. "
        "Containers are ordinary processes of this machine: there is NO sandbox.",
    )
    parser.add_argument(
        "--kubeconfig",
        type=Path,
        required=True,
        metavar="FILE",
        help="written when the cluster is ready, deleted when it ends",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (any free one)")
    parser.add_argument(
        "--bin",
        action="append",
        default=[],
        metavar="DIR",
        help="programs that containers find before those of PATH; may be repeated",
    )
    parser.add_argument(
        "--unpullable",
        action="append",
        default=["127.0.0.1:1/"],
        metavar="PREFIX",
        help="images whose names begin so cannot be pulled; may be repeated (127.0.0.1:1/)",
    )
    parser.add_argument(
        "--isolation",
        choices=("auto", "namespaces", "none"),
        default="auto",
        help="how containers see their mounts: in namespaces of their own, or by rewritten paths",
    )
    return parser.parse_args(arguments)


async def run(options: ClusterOptions, kubeconfig: Path) -> int:
    """Run a cluster until a signal comes; returns the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    cluster = LocalCluster(options)
    try:
        await cluster.start()
        cluster.write_kubeconfig(kubeconfig)
        how = "in mount namespaces" if cluster.isolated else "with rewritten paths"
        _say(f"Kubernetes API at {cluster.url}; kubeconfig {kubeconfig}")
        _say(f"Containers run as processes of this machine, {how}. There is no sandbox.")
        await stop.wait()
    except (StartError, OSError) as error:
        _say(f"The cluster cannot start: {error}")
        return 1
    finally:
        await cluster.close()
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = parse_arguments(sys.argv[1:])
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    options = ClusterOptions(
        host=arguments.host,
        port=arguments.port,
        bin_folders=tuple(str(Path(folder).resolve()) for folder in arguments.bin),
        unpullable=tuple(arguments.unpullable),
        isolation=arguments.isolation,
    )
    return asyncio.run(run(options, arguments.kubeconfig.absolute()))


if __name__ == "__main__":
    sys.exit(main())
