"""Pod templates for tests: those that clusters need, and those that break what a run rests on."""

from typing import Any

GIT = {"image": "git:1"}
REPOSITORY = {"workspace": {"repo_url": "https://git.example/p.git"}}


def spec(**fields: Any) -> dict[str, Any]:
    return {"spec": fields}


def agent(**fields: Any) -> dict[str, Any]:
    return spec(containers=[{"name": "agent", **fields}])


def keeper(**fields: Any) -> dict[str, Any]:
    return spec(containers=[{"name": "keeper", **fields}])


def beside(field: str = "containers", **fields: Any) -> dict[str, Any]:
    return spec(**{field: [{"name": "proxy", "image": "proxy:1", **fields}]})


def mounted(path: str, volume: str = "v") -> dict[str, Any]:
    template = agent(volumeMounts=[{"name": volume, "mountPath": path}])
    template["spec"]["volumes"] = [{"name": "v", "emptyDir": {}}]
    return template


def restarting(action: str) -> dict[str, Any]:
    """Return a rule of restart that Kubernetes 1.35 and later know."""
    return {"action": action, "exitCodes": {"operator": "NotIn", "values": [0]}}


SECURE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
}

FULL: dict[str, Any] = {
    "metadata": {
        "labels": {"sidecar.istio.io/inject": "false"},
        "annotations": {
            "cluster-autoscaler.kubernetes.io/safe-to-evict": "true",
            "vault.hashicorp.com/role": "agents",
        },
    },
    "spec": {
        "runtimeClassName": "gvisor",
        "priorityClassName": "agents",
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}
                    ]
                }
            }
        },
        "topologySpreadConstraints": [
            {
                "topologyKey": "topology.kubernetes.io/zone",
                "maxSkew": 1,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"claude-jobs.dev/version": "1"}},
            }
        ],
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "hostAliases": [{"ip": "10.0.0.7", "hostnames": ["git.internal"]}],
        "imagePullSecrets": [{"name": "mirror"}],
        "securityContext": {
            "runAsUser": 2000,
            "supplementalGroups": [44],
            "seLinuxOptions": {"level": "s0:c1,c2"},
            "seccompProfile": {"type": "Localhost", "localhostProfile": "agents.json"},
            "fsGroupChangePolicy": None,
        },
        "initContainers": [
            {
                "name": "istio-proxy",
                "image": "istio/proxyv2:1.27",
                "restartPolicy": "Always",
                "args": ["proxy", "sidecar"],
                "ports": [{"containerPort": 15090, "protocol": "TCP"}],
                "startupProbe": {"httpGet": {"path": "/healthz/ready", "port": 15021}},
                "securityContext": SECURE,
            },
            {"name": "clone"},
            {
                "name": "vault-agent-init",
                "image": "hashicorp/vault:1.20",
                "args": ["agent", "-config=/vault/config.hcl", "-exit-after-auth"],
                "securityContext": SECURE,
                "volumeMounts": [
                    {"name": "vault", "mountPath": "/vault/secrets"},
                    {"name": "workspace", "mountPath": "/workspace"},
                ],
            },
        ],
        "containers": [
            {
                "name": "metrics",
                "image": "metrics:1",
                "env": [{"name": "INTERVAL", "value": "10"}],
                "securityContext": SECURE,
            },
            {
                "name": "agent",
                "env": [
                    {"name": "TERM", "value": "xterm"},
                    {"name": "VAULT_ADDR", "value": "https://vault.internal"},
                    {
                        "name": "NODE",
                        "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}},
                    },
                ],
                "envFrom": [{"configMapRef": {"name": "proxies", "optional": True}}],
                "resources": {
                    "requests": {"cpu": None},
                    "limits": {"nvidia.com/gpu": "1", "memory": "16Gi"},
                },
                "volumeMounts": [
                    {"name": "vault", "mountPath": "/vault/secrets", "readOnly": True},
                    {"name": "models", "mountPath": "/models", "readOnly": True},
                    {"name": "cache", "mountPath": "/home/agent/.cache"},
                ],
            },
        ],
        "volumes": [
            {"name": "vault", "emptyDir": {"medium": "Memory"}},
            {"name": "cache", "emptyDir": {}},
            {
                "name": "models",
                "csi": {
                    "driver": "secrets-store.csi.k8s.io",
                    "readOnly": True,
                    "volumeAttributes": {"secretProviderClass": "models"},
                },
            },
        ],
    },
}
"""gVisor's class, a mesh sidecar, a Vault init container, a CSI volume, a GPU, and more."""

ACCEPTED: dict[str, dict[str, Any]] = {
    "nothing": {},
    "everything": FULL,
    "runtime class": spec(runtimeClassName="kata"),
    "more tolerations": spec(tolerations=[{"operator": "Exists"}]),
    "null of a default": spec(dnsPolicy=None, enableServiceLinks=None),
    "no capabilities said": agent(securityContext={"capabilities": None}),
    "plain sidecar": beside(env=[{"name": "A", "value": "1"}]),
    "plain init container": beside("initContainers"),
    "order of containers": spec(containers=[{"name": "agent"}, {"name": "b", "image": "b:1"}]),
    "after the clone": spec(initContainers=[{"name": "clone"}, {"name": "b", "image": "b:1"}]),
    "pull secrets": spec(imagePullSecrets=[{"name": "mirror"}, {"name": "first"}]),
    "user namespace": spec(hostUsers=False),
    "ports of two protocols": agent(
        ports=[{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}]
    ),
    "annotation removed": {"metadata": {"annotations": {"karpenter.sh/do-not-disrupt": None}}},
}

WITH_NULLS: dict[str, dict[str, Any]] = {
    "a sidecar": beside(
        args=None, env=None, envFrom=None, ports=None, securityContext=None, volumeMounts=None
    ),
    "inside of a sidecar": beside(
        env=[{"name": "A", "value": None}],
        ports=[{"containerPort": 80, "hostPort": None}],
        resources={"limits": None},
        securityContext={"capabilities": {"add": None, "drop": ["ALL"]}, "runAsUser": None},
    ),
    "an init container": beside("initContainers", ports=None, restartPolicy=None),
    "the pod": spec(
        affinity=None, hostAliases=None, imagePullSecrets=None, nodeSelector=None, tolerations=None
    ),
    "inside of lists": spec(
        tolerations=[{"key": None, "operator": "Exists", "tolerationSeconds": None}],
        hostAliases=[{"ip": "10.0.0.7", "hostnames": None}],
        volumes=[{"name": "v", "emptyDir": {"medium": None}}],
    ),
}
"""`kubectl` keeps most of these nulls when it merges, and the API drops them when it stores."""

RUN_SECRET = "agent-abc-0123456789abcdef"
AS_SECRET = {"secretKeyRef": {"name": RUN_SECRET, "key": "prompt"}}

REFUSED: list[tuple[str, dict[str, Any]]] = [
    # One pod, never restarted, ended by its limits alone.
    ("spec.restartPolicy", spec(restartPolicy="OnFailure")),
    ("spec.restartPolicy", spec(restartPolicy="Never")),
    ("spec.restartPolicy", spec(restartPolicy=None)),
    ("spec.activeDeadlineSeconds", spec(activeDeadlineSeconds=60)),
    ("spec.terminationGracePeriodSeconds", spec(terminationGracePeriodSeconds=0)),
    ("spec.containers[agent].restartPolicy", agent(restartPolicy="Always")),
    ("spec.containers[agent].restartPolicyRules", agent(restartPolicyRules=[])),
    (
        "spec.containers[proxy].restartPolicyRules[1].action",
        beside(restartPolicyRules=[restarting("Restart"), restarting("RestartAllContainers")]),
    ),
    (
        "spec.initContainers[proxy].restartPolicyRules[0].action",
        beside("initContainers", restartPolicyRules=[restarting("RestartAllContainers")]),
    ),
    (
        "spec.containers[proxy].restartPolicyRules[0].action",
        beside(restartPolicyRules=[restarting("AnActionOfTomorrow")]),
    ),
    ("spec.containers[proxy].restartPolicyRules[0].action", beside(restartPolicyRules=[{}])),
    ("spec.containers[agent].livenessProbe", agent(livenessProbe={"exec": {"command": ["x"]}})),
    ("spec.containers[agent].startupProbe", agent(startupProbe={"exec": {"command": ["x"]}})),
    ("spec.containers[agent].readinessProbe", agent(readinessProbe={"exec": {"command": ["x"]}})),
    ("spec.containers[agent].lifecycle", agent(lifecycle={"stopSignal": "SIGKILL"})),
    ("metadata.finalizers", {"metadata": {"finalizers": ["example.com/wait"]}}),
    ("metadata.ownerReferences", {"metadata": {"ownerReferences": []}}),
    # What runs, and how it is fed.
    ("spec.containers[agent].command", agent(command=["claude"])),
    ("spec.containers[agent].command", agent(command=None)),
    ("spec.containers[agent].args", agent(args=["--help"])),
    ("spec.containers[agent].image", agent(image="other:1")),
    ("spec.containers[agent].workingDir", agent(workingDir="/")),
    ("spec.containers[agent].stdin", agent(stdin=True)),
    ("spec.containers[agent].stdinOnce", agent(stdinOnce=True)),
    ("spec.containers[agent].tty", agent(tty=True)),
    ("spec.containers[agent].aFieldOfTomorrow", agent(aFieldOfTomorrow=1)),
    ("spec.containers", spec(containers=None)),
    ("spec.initContainers", spec(initContainers=None)),
    ("spec.containers[clone]", spec(containers=[{"name": "clone", "image": "a:1"}])),
    ("spec.initContainers[clone]", spec(initContainers=[{"name": "clone", "image": "a:1"}])),
    ("spec.initContainers[agent]", spec(initContainers=[{"name": "agent", "image": "a:1"}])),
    ("spec.ephemeralContainers", spec(ephemeralContainers=[{"name": "debug"}])),
    # How its work is kept.
    ("spec.initContainers[keeper]", spec(initContainers=[{"name": "keeper", "image": "a:1"}])),
    ("spec.containers[keeper].image", keeper(image="a:1")),
    ("spec.containers[keeper].command", keeper(command=["sleep", "9"])),
    ("spec.containers[keeper].args", keeper(args=["collect"])),
    ("spec.containers[keeper].env", keeper(env=[{"name": "GIT_DIR", "value": "/x"}])),
    ("spec.containers[keeper].envFrom", keeper(envFrom=[{"secretRef": {"name": "s"}}])),
    ("spec.containers[keeper].livenessProbe", keeper(livenessProbe=None)),
    ("spec.containers[keeper].lifecycle", keeper(lifecycle={"stopSignal": "SIGKILL"})),
    ("spec.containers[keeper].volumeMounts", keeper(volumeMounts=[])),
    ("spec.containers[keeper].securityContext", keeper(securityContext=None)),
    ("spec.containers[keeper].securityContext.runAsUser", keeper(securityContext={"runAsUser": 0})),
    (
        "spec.containers[keeper].securityContext.runAsNonRoot",
        keeper(securityContext={"runAsNonRoot": False}),
    ),
    ("spec.volumes[keeper]", spec(volumes=[{"name": "keeper", "emptyDir": {}}])),
    ("spec.volumes[keeper-script]", spec(volumes=[{"name": "keeper-script", "emptyDir": {}}])),
    (
        "spec.containers[proxy].volumeMounts[/k].name",
        beside(volumeMounts=[{"name": "keeper", "mountPath": "/k"}]),
    ),
    # How its ending is known.
    ("spec.containers[agent].terminationMessagePath", agent(terminationMessagePath="/x")),
    ("spec.containers[agent].terminationMessagePolicy", agent(terminationMessagePolicy="File")),
    (
        "spec.containers[agent].volumeMounts[/dev/termination-log]",
        mounted("/dev/termination-log"),
    ),
    ("spec.containers[agent].volumeMounts[//dev/./]", mounted("//dev/./")),
    ("spec.shareProcessNamespace", spec(shareProcessNamespace=True)),
    ("spec.hostPID", spec(hostPID=True)),
    # Under which name it is found.
    ("spec.hostname", spec(hostname="agent")),
    ("spec.subdomain", spec(subdomain="agents")),
    ("spec.setHostnameAsFQDN", spec(setHostnameAsFQDN=True)),
    ("spec.hostnameOverride", spec(hostnameOverride="agent")),
    ("metadata.name", {"metadata": {"name": "agent"}}),
    ("metadata.namespace", {"metadata": {"namespace": "other"}}),
    (
        "metadata.labels[claude-jobs.dev/agent-id]",
        {"metadata": {"labels": {"claude-jobs.dev/agent-id": "x"}}},
    ),
    (
        "metadata.labels[app.kubernetes.io/managed-by]",
        {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}},
    ),
    (
        "metadata.labels[prefect.io/flow-run-id]",
        {"metadata": {"labels": {"prefect.io/flow-run-id": "x"}}},
    ),
    ("metadata.labels[job-name]", {"metadata": {"labels": {"job-name": "x"}}}),
    (
        "metadata.labels[batch.kubernetes.io/job-name]",
        {"metadata": {"labels": {"batch.kubernetes.io/job-name": "x"}}},
    ),
    (
        "metadata.annotations[claude-jobs.dev/line-token]",
        {"metadata": {"annotations": {"claude-jobs.dev/line-token": "x"}}},
    ),
    ("metadata.annotations[a]", {"metadata": {"annotations": {"a": 1}}}),
    ("metadata.labels", {"metadata": {"labels": None}}),
    ("metadata.annotations", {"metadata": {"annotations": None}}),
    ("metadata", {"metadata": None}),
    ("spec", {"spec": None}),
    # Its env.
    (
        "spec.containers[agent].env[CLAUDE_JOBS_LINE_TOKEN]",
        agent(env=[{"name": "CLAUDE_JOBS_LINE_TOKEN", "value": "x"}]),
    ),
    (
        "spec.containers[agent].env[CLAUDE_JOBS_ANYTHING]",
        agent(env=[{"name": "CLAUDE_JOBS_ANYTHING", "value": "x"}]),
    ),
    ("spec.containers[agent].env[HOME]", agent(env=[{"name": "HOME", "value": "/"}])),
    (
        "spec.containers[agent].env[CLAUDE_CONFIG_DIR]",
        agent(env=[{"name": "CLAUDE_CONFIG_DIR", "value": "/"}]),
    ),
    ("spec.containers[agent].env", agent(env=None)),
    (
        "spec.containers[agent].env[ANTHROPIC_API_KEY].value",
        agent(env=[{"name": "ANTHROPIC_API_KEY", "value": "k"}]),
    ),
    (
        "spec.containers[proxy].env[AWS_SECRET_ACCESS_KEY].value",
        beside(env=[{"name": "AWS_SECRET_ACCESS_KEY", "value": "k"}]),
    ),
    # Its prompt, output, home and sessions.
    ("spec.volumes[input]", spec(volumes=[{"name": "input", "emptyDir": {}}])),
    ("spec.volumes[work]", spec(volumes=[{"name": "work", "emptyDir": {}}])),
    ("spec.volumes[home]", spec(volumes=[{"name": "home", "emptyDir": {}}])),
    ("spec.volumes[tmp]", spec(volumes=[{"name": "tmp", "emptyDir": {}}])),
    ("spec.volumes[workspace]", spec(volumes=[{"name": "workspace", "emptyDir": {}}])),
    ("spec.volumes[git-credentials]", spec(volumes=[{"name": "git-credentials", "emptyDir": {}}])),
    ("spec.volumes[mount-1]", spec(volumes=[{"name": "mount-1", "emptyDir": {}}])),
    ("spec.volumes", spec(volumes=None)),
    ("spec.containers[agent].volumeMounts", agent(volumeMounts=None)),
    ("spec.containers[agent].volumeMounts[/copy].name", mounted("/copy", "home")),
    ("spec.containers[agent].volumeMounts[/a].name", mounted("/a", "no-such-volume")),
    (
        "spec.containers[proxy].volumeMounts[/in].name",
        beside(volumeMounts=[{"name": "input", "mountPath": "/in"}]),
    ),
    (
        "spec.containers[proxy].volumeMounts[/out].name",
        beside(volumeMounts=[{"name": "work", "mountPath": "/out"}]),
    ),
    (
        "spec.initContainers[proxy].volumeMounts[/h].name",
        beside("initContainers", volumeMounts=[{"name": "home", "mountPath": "/h"}]),
    ),
    (
        "spec.initContainers[proxy].volumeMounts[/g].name",
        beside("initContainers", volumeMounts=[{"name": "git-credentials", "mountPath": "/g"}]),
    ),
    (
        "spec.containers[agent].volumeMounts[/var/run/claude-jobs/input]",
        mounted("/var/run/claude-jobs/input"),
    ),
    (
        "spec.containers[agent].volumeMounts[/run/claude-jobs/work/x]",
        mounted("/run/claude-jobs/work/x"),
    ),
    ("spec.containers[agent].volumeMounts[var/run]", mounted("var/run")),
    ("spec.containers[agent].volumeMounts[/var/../var//run/]", mounted("/var/../var//run/")),
    ("spec.containers[agent].volumeMounts[/]", mounted("/")),
    ("spec.containers[agent].volumeMounts[/home/agent/]", mounted("/home/agent/")),
    ("spec.containers[agent].volumeMounts[/home/agent/.claude]", mounted("/home/agent/.claude")),
    (
        "spec.containers[agent].volumeMounts[/home/agent/.claude/projects]",
        mounted("/home/agent/.claude/projects"),
    ),
    ("spec.containers[agent].volumeMounts[/workspace]", mounted("/workspace")),
    ("spec.containers[agent].volumeMounts[/workspace/repo]", mounted("/workspace/repo")),
    # Who it is.
    ("spec.securityContext.fsGroup", spec(securityContext={"fsGroup": None})),
    ("spec.securityContext.runAsNonRoot", spec(securityContext={"runAsNonRoot": False})),
    ("spec.securityContext.runAsUser", spec(securityContext={"runAsUser": 0})),
    ("spec.securityContext", spec(securityContext=None)),
    ("spec.containers[agent].securityContext.runAsUser", agent(securityContext={"runAsUser": 0})),
    (
        "spec.containers[agent].securityContext.runAsNonRoot",
        agent(securityContext={"runAsNonRoot": None}),
    ),
    ("spec.containers[agent].securityContext", agent(securityContext=None)),
    (
        "spec.containers[agent].securityContext.readOnlyRootFilesystem",
        agent(securityContext={"readOnlyRootFilesystem": True}),
    ),
    (
        "spec.containers[agent].resources.limits.memory",
        agent(resources={"limits": {"memory": None}}),
    ),
    ("spec.containers[agent].resources.limits", agent(resources={"limits": None})),
    ("spec.containers[agent].resources", agent(resources=None)),
    # What cannot be merged as it was meant.
    ("spec.$patch", spec(**{"$patch": "replace"})),
    ("spec.containers[0].$patch", spec(containers=[{"name": "agent", "$patch": "delete"}])),
    ("spec.$setElementOrder/containers", spec(**{"$setElementOrder/containers": []})),
    ("spec.containers", spec(containers={"agent": {}})),
    ("spec.containers[0]", spec(containers=["agent"])),
    ("spec.containers[0].name", spec(containers=[{"image": "a:1"}])),
    ("spec.containers[b]", spec(containers=[{"name": "b"}, {"name": "b"}])),
    ("spec.containers[agent].securityContext", agent(securityContext="none")),
    ("spec.volumes[v]", spec(volumes=[{"name": "v"}, {"name": "v"}])),
    ("template", {"template": {"spec": {}}}),
    ("apiVersion", {"apiVersion": "v1", "spec": {}}),
]

NAMES_A_RUN_SECRET: list[tuple[str, dict[str, Any]]] = [
    (
        "spec.volumes[0].secret.secretName",
        spec(volumes=[{"name": "v", "secret": {"secretName": RUN_SECRET}}]),
    ),
    (
        "spec.volumes[0].projected.sources[0].secret.name",
        spec(volumes=[{"name": "v", "projected": {"sources": [{"secret": {"name": RUN_SECRET}}]}}]),
    ),
    (
        "spec.containers[0].envFrom[0].secretRef.name",
        beside(envFrom=[{"secretRef": {"name": RUN_SECRET}}]),
    ),
    (
        "spec.containers[0].env[0].valueFrom.secretKeyRef.name",
        agent(env=[{"name": "A", "valueFrom": AS_SECRET}]),
    ),
    (
        "spec.initContainers[0].env[0].valueFrom.secretKeyRef.name",
        beside("initContainers", env=[{"name": "A", "valueFrom": AS_SECRET}]),
    ),
]
