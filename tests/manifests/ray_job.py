"""JSON schema of KubeRay's RayJob, as narrow as our use of it.

Names, types and bounds are those of `ray.io/v1` in ray-project/kuberay. The templates of pods are
Kubernetes' own, and checked as pods.
"""

from tests.manifests.custom_resources import NAME, TEXT, WORDS, fields, list_of, one_of, whole

POD_TEMPLATE = {"type": "object"}
MOST = 2**31 - 1

HEAD = fields("rayStartParams", "template", rayStartParams=WORDS, template=POD_TEMPLATE)
WORKERS = fields(
    "groupName", "minReplicas", "maxReplicas", "rayStartParams", "template",
    groupName=NAME,
    replicas=whole(0, MOST),
    minReplicas=whole(0, MOST),
    maxReplicas=whole(1, MOST),
    rayStartParams=WORDS,
    template=POD_TEMPLATE,
)  # fmt: skip

RAY_JOB = fields(
    "apiVersion", "kind", "metadata", "spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=fields("name", name={**NAME, "maxLength": 47}, labels=WORDS),
    spec=fields(
        "entrypoint", "rayClusterSpec",
        entrypoint=TEXT,
        submissionMode=one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
        backoffLimit=whole(0, MOST),
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=whole(0, MOST),
        submitterPodTemplate=POD_TEMPLATE,
        rayClusterSpec=fields(
            "headGroupSpec",
            rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
            authOptions=fields("mode", mode=one_of("token", "disabled")),
            enableInTreeAutoscaling={"type": "boolean"},
            autoscalerOptions=fields(
                idleTimeoutSeconds=whole(0, MOST),
                upscalingMode=one_of("Default", "Aggressive", "Conservative"),
                resources={"type": "object"},
            ),
            headGroupSpec=HEAD,
            workerGroupSpecs=list_of(WORKERS),
        ),
    ),
)  # fmt: skip


def pod_templates(job):
    """Return the templates of a RayJob's pods by the name of their only container."""
    spec = job["spec"]
    cluster = spec["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    templates = [spec["submitterPodTemplate"], *(group["template"] for group in groups)]
    return {template["spec"]["containers"][0]["name"]: template for template in templates}
