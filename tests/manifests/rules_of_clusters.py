"""Rules for what stands around the pods: names, selectors, autoscalers, the balancer."""

import re
from urllib.parse import urlsplit

import yaml

from sentiment.api.auth import is_open
from sentiment.api.routes import route_names
from sentiment.metrics import Metrics
from tests.manifests.reading import Rules

BALANCER_IDLE_S = 600
"""How long Google's application load balancers keep an idle connection to a backend."""

POLICY_OF_PODS = "pod-security.kubernetes.io/enforce"

NAMESPACE = "kubernetes.io/metadata.name"
"""The label that Kubernetes itself gives every namespace."""

MANAGED_COLLECTORS = ("gmp-system", "gke-gmp-system")
"""Where managed Prometheus scrapes from: on nodes of one's own, on Autopilot."""

DRIVER = "/usr/local/nvidia/lib64"
"""Where GKE mounts NVIDIA's driver; the image's base looks for libraries elsewhere."""

CPU_PERCENT = 65
"""The target of `deploy_model.yaml`: a third is left for the time that a replica takes to come."""

GAUGES = {
    metric._name for metric in vars(Metrics()).values() if getattr(metric, "_type", None) == "gauge"
}
"""What an autoscaler may ask for: a counter or a histogram says nothing of now."""

RULES = Rules()


@RULES.add
def every_selector_selects_the_pods(manifests):
    labels = manifests.pod["metadata"]["labels"].items()
    selectors = [
        manifests.one("Deployment")["spec"]["selector"]["matchLabels"],
        manifests.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        manifests.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        manifests.one("Service")["spec"]["selector"],
        *(
            each["spec"]["selector"]["matchLabels"]
            for each in manifests.all("PodMonitoring", "PodMonitor")
        ),
        *(
            each["labelSelector"]["matchLabels"]
            for each in manifests.pod["spec"]["topologySpreadConstraints"]
        ),
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels


@RULES.add
def replicas_are_spread_over_zones_and_nodes(manifests):
    spread = manifests.pod["spec"]["topologySpreadConstraints"]
    assert {each["topologyKey"] for each in spread} == {
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    }
    # A replica beside another serves; one that must not be there does not.
    assert {each["whenUnsatisfiable"] for each in spread} == {"ScheduleAnyway"}


@RULES.add
def a_drained_node_takes_one_replica_at_a_time(manifests):
    budget = manifests.one("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@RULES.add
def the_service_leads_to_the_port_that_serves(manifests):
    service = manifests.one("Service")
    assert service["metadata"]["name"] == "ml-model-service"
    assert service["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]
    assert "http" in {port["name"] for port in manifests.container["ports"]}


@RULES.add
def no_connection_is_sent_to_a_pod_that_has_ended(manifests):
    service = manifests.one("Service")["spec"]
    assert service["type"] == "ClusterIP" or service["externalTrafficPolicy"] == "Cluster"


@RULES.add
def requests_come_from_anywhere_and_scrapes_from_prometheus(manifests):
    policy = manifests.one("NetworkPolicy")["spec"]
    ports = {port["name"]: port["containerPort"] for port in manifests.container["ports"]}
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    requests, scrapes = policy["ingress"]
    assert requests == {"ports": [{"port": ports["http"]}]}
    assert scrapes["ports"] == [{"port": ports["metrics"]}]
    (peer,) = scrapes["from"]
    assert peer == {"namespaceSelector": scrapers(manifests)}


def scrapers(manifests):
    """Return the selector of the namespaces in which the Prometheus of these manifests runs."""
    if manifests.all("PodMonitoring"):
        return only_in(*MANAGED_COLLECTORS)
    for scaler in manifests.all("ScaledObject"):
        return only_in(namespace_of(scaler["spec"]["triggers"][0]["metadata"]["serverAddress"]))
    return {}


def only_in(*namespaces):
    return {"matchExpressions": [{"key": NAMESPACE, "operator": "In", "values": [*namespaces]}]}


def namespace_of(address):
    """Return the namespace in the address of a Service, `http://NAME.NAMESPACE.svc:PORT`."""
    _, namespace, kind = urlsplit(address).hostname.split(".")
    assert kind == "svc"
    return namespace


@RULES.add
def nothing_goes_out_but_traces_and_the_question_where_to(manifests):
    egress = manifests.one("NetworkPolicy")["spec"]["egress"]
    if manifests.settings.traces == "off":
        assert egress == []
        assert not any(name.startswith("OTEL_") for name in manifests.environment)
        return
    names, collector = egress
    assert names["ports"] == [{"port": 53, "protocol": kind} for kind in ("UDP", "TCP")]
    assert {"namespaceSelector": only_in("kube-system")} in names["to"]
    endpoint = manifests.environment["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert collector["ports"] == [{"port": urlsplit(endpoint).port}]
    assert collector["to"] == [{"namespaceSelector": only_in(namespace_of(endpoint))}]
    # Each request traced costs the event loop its time.
    assert 0 < float(manifests.environment["OTEL_TRACES_SAMPLER_ARG"]) <= 0.1


@RULES.add
def metrics_are_scraped_where_they_are_served(manifests):
    annotations = manifests.pod["metadata"]["annotations"]
    assert annotations["prometheus.io/scrape"] == "true"
    assert int(annotations["prometheus.io/port"]) == manifests.settings.metrics_port
    assert annotations["prometheus.io/path"] == "/metrics"
    for monitoring in manifests.all("PodMonitoring"):
        (endpoint,) = monitoring["spec"]["endpoints"]
        assert (endpoint["port"], endpoint["path"]) == ("metrics", "/metrics")
        assert "pod" in monitoring["spec"]["targetLabels"]["metadata"]
    for monitor in manifests.all("PodMonitor"):
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        assert (endpoint["port"], endpoint["path"]) == ("metrics", "/metrics")


@RULES.add
def an_autoscaler_by_backlog_has_a_prometheus_that_knows_it(manifests):
    needed = {"HorizontalPodAutoscaler": "PodMonitoring", "ScaledObject": "PodMonitor"}
    for scaler in manifests.all(*needed):
        if [*backlog_targets(manifests)]:
            assert manifests.all(needed[scaler["kind"]])


@RULES.add
def one_autoscaler_scales_the_deployment(manifests):
    (scaler,) = manifests.all("HorizontalPodAutoscaler", "ScaledObject")
    target = scaler["spec"]["scaleTargetRef"]
    assert (target["apiVersion"], target["kind"]) == ("apps/v1", "Deployment")
    assert target["name"] == manifests.one("Deployment")["metadata"]["name"]
    least, most = bounds(scaler)
    assert 2 <= least < most
    # Where the count is said twice, each apply would undo the autoscaler's.
    assert manifests.one("Deployment")["spec"].get("replicas", least) == least


@RULES.add
def autoscalers_ask_for_metrics_that_are_served(manifests):
    for scaler in manifests.all("HorizontalPodAutoscaler", "ScaledObject"):
        asked = set(re.findall(r"sentiment_\w+", yaml.safe_dump(scaler)))
        assert asked <= GAUGES
        assert asked or manifests.one("Deployment")["spec"].get("replicas")  # overlays: by backlog


@RULES.add
def replicas_are_asked_for_long_before_requests_are_refused(manifests):
    for target_s in backlog_targets(manifests):
        assert 0 < target_s <= manifests.settings.max_backlog_s / 5


@RULES.add
def cpu_asks_for_replicas_before_there_is_a_backlog(manifests):
    # And when no metrics come. What a GPU does, CPU does not show.
    if manifests.settings.device != "cuda":
        assert [*cpu_targets(manifests)] == [CPU_PERCENT]


@RULES.add
def replicas_come_quickly_and_go_one_by_one(manifests):
    (scaler,) = manifests.all("HorizontalPodAutoscaler", "ScaledObject")
    if scaler["kind"] == "ScaledObject":
        behavior = scaler["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    else:
        behavior = scaler["spec"]["behavior"]
    up, down = behavior["scaleUp"], behavior["scaleDown"]
    assert up["stabilizationWindowSeconds"] <= 30
    assert up["policies"] == [{"type": "Percent", "value": 100, "periodSeconds": 60}]
    assert down["stabilizationWindowSeconds"] >= 300
    assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]


def bounds(scaler):
    """Return the least and most replicas of either kind of autoscaler."""
    names = {
        "HorizontalPodAutoscaler": ("minReplicas", "maxReplicas"),
        "ScaledObject": ("minReplicaCount", "maxReplicaCount"),
    }
    return [scaler["spec"][name] for name in names[scaler["kind"]]]


def backlog_targets(manifests):
    """Yield the seconds of backlog a replica at which autoscalers add one."""
    for scaler in manifests.all("HorizontalPodAutoscaler"):
        for metric in scaler["spec"]["metrics"]:
            if "pods" in metric:
                yield float(metric["pods"]["target"]["averageValue"])
    for scaler in manifests.all("ScaledObject"):
        yield float(scaler["spec"]["triggers"][0]["metadata"]["threshold"])


def cpu_targets(manifests):
    """Yield the per cent of its cores at which autoscalers add a replica."""
    for scaler in manifests.all("HorizontalPodAutoscaler"):
        for metric in scaler["spec"]["metrics"]:
            if "resource" in metric:
                yield metric["resource"]["target"]["averageUtilization"]
    for scaler in manifests.all("ScaledObject"):
        for trigger in scaler["spec"]["triggers"]:
            if trigger["type"] == "cpu":
                yield int(trigger["metadata"]["value"])


@RULES.add
def an_overlay_has_a_namespace_that_refuses_what_is_not_hardened(manifests):
    names = {
        each["metadata"].get("namespace")
        for each in manifests.objects
        if each["kind"] != "Namespace"
    }
    (name,) = names  # all in one
    for namespace in manifests.all("Namespace"):
        assert namespace["metadata"]["name"] == name
        assert namespace["metadata"]["labels"][POLICY_OF_PODS] == "restricted"
    assert bool(name) == bool(manifests.all("Namespace"))
    for scaler in manifests.all("ScaledObject"):
        assert f'{{namespace="{name}"}}' in scaler["spec"]["triggers"][0]["metadata"]["query"]


@RULES.add
def the_balancer_waits_longer_than_the_server_works(manifests):
    settings = manifests.settings
    for policy in manifests.all("GCPBackendPolicy"):
        given = policy["spec"]["default"]
        assert given["timeoutSec"] > settings.body_timeout_s + settings.deadline_s
        assert given["connectionDraining"]["drainingTimeoutSec"] >= settings.drain_s


@RULES.add
def the_balancer_closes_an_idle_connection_before_the_server_does(manifests):
    if manifests.all("Gateway"):
        assert manifests.settings.keep_alive_s > BALANCER_IDLE_S


@RULES.add
def the_balancer_asks_for_readiness_without_a_key(manifests):
    for policy in manifests.all("HealthCheckPolicy"):
        check = policy["spec"]["default"]
        asked = check["config"]["httpHealthCheck"]
        assert asked["portSpecification"] == "USE_SERVING_PORT"
        assert "ready" in asked["requestPath"]
        assert f"GET {asked['requestPath']}" in route_names()
        assert is_open("GET", asked["requestPath"])
        assert check["timeoutSec"] <= check["checkIntervalSec"]
        red_s = check["checkIntervalSec"] * check["unhealthyThreshold"] + check["timeoutSec"]
        assert manifests.sleep_s >= red_s


@RULES.add
def policies_and_routes_lead_to_what_exists(manifests):
    there = {(each["kind"], each["metadata"]["name"]) for each in manifests.objects}
    for policy in manifests.all("HealthCheckPolicy", "GCPBackendPolicy", "GCPGatewayPolicy"):
        target = policy["spec"]["targetRef"]
        assert (target["kind"], target["name"]) in there
    listeners = {
        (gateway["metadata"]["name"], listener["name"])
        for gateway in manifests.all("Gateway")
        for listener in gateway["spec"]["listeners"]
    }
    served = {port["port"] for port in manifests.one("Service")["spec"]["ports"]}
    for route in manifests.all("HTTPRoute"):
        for parent in route["spec"]["parentRefs"]:
            assert (parent["name"], parent["sectionName"]) in listeners
        for rule in route["spec"]["rules"]:
            for backend in rule.get("backendRefs", []):
                assert ("Service", backend["name"]) in there
                assert backend["port"] in served


@RULES.add
def nothing_is_answered_without_tls_beside_a_gateway(manifests):
    if manifests.all("Gateway"):
        assert manifests.one("Service")["spec"]["type"] == "ClusterIP"
        for route in manifests.all("HTTPRoute"):
            if any(parent["sectionName"] == "http" for parent in route["spec"]["parentRefs"]):
                assert not any("backendRefs" in rule for rule in route["spec"]["rules"])


@RULES.add
def a_gateway_has_its_certificate_from_a_map(manifests):
    for gateway in manifests.all("Gateway"):
        assert "HTTPS" in {listener["protocol"] for listener in gateway["spec"]["listeners"]}
        assert gateway["metadata"]["annotations"]["networking.gke.io/certmap"]


@RULES.add
def a_gpu_is_asked_for_where_one_is_needed(manifests):
    asked = manifests.container["resources"]["limits"].get("nvidia.com/gpu")
    nodes = manifests.pod["spec"].get("nodeSelector", {})
    assert bool(asked) == (manifests.settings.device == "cuda")
    assert bool(asked) == ("cloud.google.com/gke-accelerator" in nodes)
    assert manifests.environment.get("LD_LIBRARY_PATH") == (DRIVER if asked else None)
    if asked:
        assert asked == "1"  # the engine runs on one
        tolerated = {each["key"] for each in manifests.pod["spec"]["tolerations"]}
        assert "nvidia.com/gpu" in tolerated  # GKE's own taint of such nodes
