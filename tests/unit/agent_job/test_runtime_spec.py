from typing import Any

import pytest
from pydantic import ValidationError

from tasks.agent_job.runtime_spec import RuntimeSpec


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"image": ""}, "image", id="no_image"),
        pytest.param({"image": "a b"}, "image", id="image_with_blank"),
        pytest.param({"labels": {"claude-jobs.dev/x": "1"}}, "reserved", id="our_label"),
        pytest.param({"labels": {"app.kubernetes.io/name": "1"}}, "reserved", id="managed_label"),
        pytest.param({"labels": {"prefect.io/flow-run-id": "1"}}, "reserved", id="prefect_label"),
        pytest.param({"labels": {"job-name": "x"}}, "reserved", id="controller_label"),
        pytest.param({"annotations": {"x.prefect.io/a": "1"}}, "reserved", id="annotation"),
        pytest.param({"labels": {"a": "b c"}}, "labels", id="label_value"),
        pytest.param({"resources": {"memory_limit": "8 GB"}}, "memory_limit", id="quantity"),
        pytest.param({"resources": {"memory_limit": None}}, "memory_limit", id="no_memory_limit"),
        *(
            pytest.param(
                {"resources": {"work_limit": size}},
                "at least 1Mi and at most 4Gi",
                id=f"work_{size}",
            )
            for size in ("0", "268435456m", "1023Ki", "4097Mi", "1P")
        ),
        pytest.param({"resources": {"work_limit": "x"}}, "work_limit", id="work_no_quantity"),
        pytest.param({"limits": {"keeper_patience_seconds": 59}}, "patience", id="no_patience"),
        pytest.param({"limits": {"keeper_patience_seconds": 86_401}}, "patience", id="days"),
        pytest.param({"run_as_user": 0}, "run_as_user", id="root"),
        pytest.param({"limits": {"termination_grace_seconds": 30}}, "termination", id="grace"),
        pytest.param({"home_path": "/"}, "used by the run itself", id="home_over_everything"),
        pytest.param({"home_path": "/var/run/claude-jobs/work/x"}, "itself", id="home_in_work"),
        pytest.param({"home_sub_path": "a/../.."}, "must not leave the volume", id="sub_path"),
        pytest.param({"dns": {"policy": "None"}}, "name server", id="dns"),
        pytest.param(
            {"mounts": [{"kind": "secret", "name": "s", "path": "/home/agent"}]},
            "mounts: /home/agent given more than once",
            id="mount_over_home",
        ),
        pytest.param(
            {"mounts": [{"kind": "secret", "name": "s", "path": "/var/run"}]}, "itself", id="mount"
        ),
        *(
            pytest.param(
                {"read_only_root_filesystem": True, **fields},
                "/tmp cannot be mounted: with read_only_root_filesystem",
                id=f"tmp_twice_{name}",
            )
            for name, fields in {
                "home": {"home_path": "/tmp"},
                "home_with_a_slash": {"home_path": "/tmp/"},
                "mount": {"mounts": [{"kind": "secret", "name": "s", "path": "/tmp"}]},
                "clone": {"git": {"image": "git:1", "path": "/tmp"}},
            }.items()
        ),
        pytest.param(
            {"env_from_keys": [{"env": "A", "kind": "secret", "name": "s", "key": "k"}] * 2},
            "env_from_keys: A given more than once",
            id="env_twice",
        ),
        pytest.param({"retry": {"codes": ["no_such_code"]}}, "retry.codes", id="unknown_code"),
        pytest.param({"nonsense": 1}, "nonsense", id="unknown_field"),
    ],
)
def test_runtime_that_cannot_work_is_refused(fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        RuntimeSpec.model_validate({"image": "agent:1", **fields})


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"labels": {"team": "x", "example.com/a": ""}}, id="labels"),
        pytest.param(
            {"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}},
            id="annotations_that_clusters_understand",
        ),
        pytest.param({"home_path": "/var/run/home"}, id="home_beside_ours"),
        pytest.param({"home_path": "/tmp"}, id="home_at_tmp_of_the_image"),
        pytest.param(
            {"home_path": "/tmp/home", "read_only_root_filesystem": True}, id="home_inside_of_tmp"
        ),
        pytest.param({"retry": {"codes": ["claude_rate_limited"]}}, id="retry"),
        pytest.param({"resources": {"work_limit": "1Mi"}}, id="least_work"),
        pytest.param({"resources": {"work_limit": "4Gi"}}, id="most_work"),
        pytest.param({"limits": {"keeper_patience_seconds": 86_400}}, id="most_patience"),
    ],
)
def test_runtime_is_taken(fields: dict[str, Any]) -> None:
    assert RuntimeSpec.model_validate({"image": "agent:1", **fields}).image == "agent:1"
