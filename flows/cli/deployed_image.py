"""The build step of `deployments/prefect.yaml`: which image the deployed flows run in."""

import os
import sys

_VARIABLE = "CLAUDE_JOBS_IMAGE"


def name_flow_run_image() -> dict[str, str]:
    """Return the flow-run image of the environment as `image`, for the deployments' templates.

    With an empty one Prefect would deploy all the same, and runs would start in Prefect's own
    image, which has no flows of ours.

    Raises:
        SystemExit: It is not set, or is no name; the reason is on stderr. Prefect's command line
            would print a traceback for anything else, and nothing for a `SystemExit` with text.
    """
    image = os.environ.get(_VARIABLE, "")
    if image.split() == [image]:
        return {"image": image}
    found = "contains blanks" if image.strip() else "is not set or empty"
    sys.stderr.write(
        f"{_VARIABLE} {found}, so nothing was deployed. Set it to the name of the flow-run image, "
        "for example registry.example.com/claude-jobs/flow-run:0.1.0, and deploy again.\n"
    )
    raise SystemExit(1)
