"""The manifests keep every rule, and each rule finds what it is for."""

import pytest

from tests.manifests import rules_of_clusters as cluster
from tests.manifests import rules_of_pods as pods
from tests.manifests.mutations import (
    GONE,
    container,
    pod,
    put,
    resource,
    setting,
    twice,
    without,
)
from tests.manifests.reading import PLAIN, VARIANTS, read

RULES = [*pods.RULES, *cluster.RULES]

BACKLOG = "spec/metrics/0/pods"
TRIGGER = "spec/triggers/0/metadata"
CHECK = "spec/default/config/httpHealthCheck"
ANNOTATIONS = "spec/template/metadata/annotations"
SCRAPERS = "spec/ingress/1/from/0/namespaceSelector"

BROKEN = [
    (pods.a_pod_is_given_the_time_that_its_end_may_take, PLAIN, [
        pod("terminationGracePeriodSeconds", 78),
        container("lifecycle/preStop/sleep/seconds", 12),
        setting("SENTIMENT_DRAIN_S", "62"),
        setting("SENTIMENT_DRAIN_DELAY_S", "5"),
    ]),
    (pods.what_was_accepted_has_its_whole_deadline_in_the_drain, PLAIN, [
        setting("SENTIMENT_DRAIN_S", GONE),
        setting("SENTIMENT_DEADLINE_S", "90"),
    ]),
    (pods.a_pod_serves_until_every_node_knows_of_its_end, PLAIN, [
        container("lifecycle/preStop/sleep/seconds", 1),
        container("readinessProbe/periodSeconds", 10),
    ]),
    (pods.no_update_takes_a_replica_before_another_serves, PLAIN, [
        put("Deployment", "spec/strategy/rollingUpdate/maxUnavailable", 1),
        put("Deployment", "spec/strategy/rollingUpdate/maxSurge", 0),
        put("Deployment", "spec/revisionHistoryLimit", 0),
    ]),
    (pods.a_replica_is_known_everywhere_before_an_old_one_goes, PLAIN, [
        put("Deployment", "spec/minReadySeconds", GONE),
        put("Deployment", "spec/minReadySeconds", 5),
    ]),
    (pods.a_replica_is_known_everywhere_before_an_old_one_goes, "public", [
        put("Deployment", "spec/minReadySeconds", 10),
    ]),
    (pods.probes_ask_routes_that_the_metrics_port_serves, PLAIN, [
        container("livenessProbe/httpGet/path", "/healthz"),
        container("startupProbe/httpGet/path", "/info"),
        container("readinessProbe/httpGet/port", "http"),
        setting("SENTIMENT_METRICS_PORT", "9001"),
    ]),
    (pods.readiness_and_liveness_are_two_questions, PLAIN, [
        container("livenessProbe/httpGet/path", "/readyz"),
        container("readinessProbe/httpGet/path", "/livez"),
    ]),
    (pods.a_start_may_take_minutes_and_a_lost_engine_its_time, PLAIN, [
        container("startupProbe/failureThreshold", 10),
        container("livenessProbe/failureThreshold", 3),
        put("Deployment", "spec/progressDeadlineSeconds", 180),
    ]),
    (pods.a_start_that_fails_says_why, PLAIN, [container("terminationMessagePolicy", "File")]),
    (pods.every_variable_is_a_setting_with_a_value_that_it_takes, PLAIN, [
        setting("SENTIMENT_PORT", "8000"),
        setting("SENTIMENT_DRAIN_S", "a minute"),
        setting("HUB_OFFLINE", "1"),
        setting("OTEL_EXPORTER_ENDPOINT", "http://collector:4318"),
    ]),
    (pods.settings_and_port_names_agree, PLAIN, [
        container("ports/0/containerPort", 8080),
        container("args/4", "8080"),
        container("args/2", "127.0.0.1"),
    ]),
    (pods.nothing_is_fetched_at_the_start, PLAIN, [
        setting("HF_HUB_OFFLINE", "0"),
        setting("HF_HUB_OFFLINE", GONE),
    ]),
    (pods.the_model_is_the_one_in_the_image, PLAIN, [
        setting("SENTIMENT_MODEL", "ProsusAI/finbert"),
        setting("SENTIMENT_MODEL", "/models/mine"),
        setting("SENTIMENT_MODEL", GONE),
    ]),
    (pods.a_pod_runs_where_its_image_does, PLAIN, [
        pod("nodeSelector", GONE),
        pod("nodeSelector/kubernetes.io~1arch", "arm64"),
    ]),
    (pods.what_is_asked_for_is_what_is_given, PLAIN, [
        container("resources/requests/cpu", "1"),
        container("resources/limits/memory", "4Gi"),
        container("resources", {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}),
        resource("memory", "64Mi"),
        resource("memory", "1Gi"),
    ]),
    (pods.threads_are_the_cores_of_the_limit, PLAIN, [
        setting("SENTIMENT_THREADS", GONE),
        container("resources/limits/cpu", "1500m"),
    ]),
    (pods.the_container_may_do_nothing_but_serve, PLAIN, [
        pod("securityContext/runAsNonRoot", False),
        pod("securityContext/runAsUser", 0),
        pod("securityContext/seccompProfile/type", "Unconfined"),
        pod("automountServiceAccountToken", True),
        pod("serviceAccountName", "default"),
        pod("enableServiceLinks", True),
        container("securityContext/allowPrivilegeEscalation", True),
        container("securityContext/readOnlyRootFilesystem", False),
        container("securityContext/capabilities/drop", []),
    ]),
    (pods.what_can_be_written_is_bounded, PLAIN, [
        pod("volumes/0/emptyDir", {}),
        pod("volumes/0/emptyDir/sizeLimit", "1Mi"),
        pod("volumes/0/emptyDir/sizeLimit", "2Gi"),
        container("volumeMounts", []),
    ]),
    (pods.an_image_is_one_and_stays_one, PLAIN, [
        container("image", "europe-docker.pkg.dev/p/sentiment/server"),
        container("image", "europe-docker.pkg.dev/p/sentiment/server:latest"),
    ]),
    (pods.keys_are_secrets_that_must_be_there, "public", [
        setting("SENTIMENT_API_KEYS", "key"),
        container("env", [{
            "name": "SENTIMENT_API_KEYS",
            "valueFrom": {"secretKeyRef": {"name": "a", "key": "b", "optional": True}},
        }]),
    ]),
    (cluster.every_selector_selects_the_pods, "gke", [
        put("Deployment", "spec/template/metadata/labels", {"app": "model"}),
        put("Service", "spec/selector", {"app": "model"}),
        put("Service", "spec/selector", {}),
        put("PodDisruptionBudget", "spec/selector/matchLabels", {"app": "model"}),
        put("NetworkPolicy", "spec/podSelector/matchLabels", {"app": "model"}),
        put("PodMonitoring", "spec/selector/matchLabels", {"app": "model"}),
        pod("topologySpreadConstraints/0/labelSelector/matchLabels", {"app": "model"}),
    ]),
    (cluster.replicas_are_spread_over_zones_and_nodes, PLAIN, [
        pod("topologySpreadConstraints/1", GONE),
        pod("topologySpreadConstraints/0/whenUnsatisfiable", "DoNotSchedule"),
    ]),
    (cluster.a_drained_node_takes_one_replica_at_a_time, PLAIN, [
        without("PodDisruptionBudget"),
        put("PodDisruptionBudget", "spec/maxUnavailable", 0),
        put("PodDisruptionBudget", "spec/unhealthyPodEvictionPolicy", GONE),
    ]),
    (cluster.the_service_leads_to_the_port_that_serves, PLAIN, [
        put("Service", "spec/ports/0/targetPort", "web"),
        put("Service", "spec/ports/0/port", 8000),
        container("ports/0/name", "web"),
    ]),
    (cluster.no_connection_is_sent_to_a_pod_that_has_ended, PLAIN, [
        put("Service", "spec/externalTrafficPolicy", "Local"),
    ]),
    (cluster.requests_come_from_anywhere_and_scrapes_from_prometheus, PLAIN, [
        without("NetworkPolicy"),
        put("NetworkPolicy", "spec/ingress/0/from", [{"podSelector": {}}]),
        put("NetworkPolicy", "spec/ingress/1/from", GONE),
        put("NetworkPolicy", "spec/ingress/1", GONE),
        put("NetworkPolicy", "spec/policyTypes", ["Ingress"]),
    ]),
    (cluster.requests_come_from_anywhere_and_scrapes_from_prometheus, "gke", [
        put("NetworkPolicy", SCRAPERS, {}),
        put("NetworkPolicy", SCRAPERS, cluster.only_in("gmp-system")),
        put("NetworkPolicy", SCRAPERS, cluster.only_in("monitoring")),
    ]),
    (cluster.requests_come_from_anywhere_and_scrapes_from_prometheus, "keda", [
        put("NetworkPolicy", SCRAPERS, {}),
        put("ScaledObject", f"{TRIGGER}/serverAddress", "http://prometheus.metrics.svc:9090"),
    ]),
    (cluster.nothing_goes_out_but_traces_and_the_question_where_to, PLAIN, [
        put("NetworkPolicy", "spec/egress", [{}]),
        setting("SENTIMENT_TRACES", "otlp"),
        setting("OTEL_SERVICE_NAME", "mine"),
    ]),
    (cluster.nothing_goes_out_but_traces_and_the_question_where_to, "traces", [
        put("NetworkPolicy", "spec/egress", []),
        put("NetworkPolicy", "spec/egress/0", GONE),
        put("NetworkPolicy", "spec/egress/0/to", [{"ipBlock": {"cidr": "169.254.0.0/16"}}]),
        put("NetworkPolicy", "spec/egress/1/to", GONE),
        put("NetworkPolicy", "spec/egress/1/ports/0/port", 4317),
        setting("SENTIMENT_TRACES", GONE),
        setting("OTEL_EXPORTER_OTLP_ENDPOINT", GONE),
        setting("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.tracing.svc:4318"),
        setting("OTEL_TRACES_SAMPLER_ARG", "1"),
    ]),
    (cluster.metrics_are_scraped_where_they_are_served, PLAIN, [
        put("Deployment", f"{ANNOTATIONS}/prometheus.io~1scrape", "false"),
        put("Deployment", f"{ANNOTATIONS}/prometheus.io~1port", "8000"),
        put("Deployment", f"{ANNOTATIONS}/prometheus.io~1path", "/"),
    ]),
    (cluster.metrics_are_scraped_where_they_are_served, "keda", [
        put("PodMonitor", "spec/podMetricsEndpoints/0/port", "http"),
        put("PodMonitor", "spec/podMetricsEndpoints/0/path", "/"),
    ]),
    (cluster.an_autoscaler_by_backlog_has_a_prometheus_that_knows_it, "gke", [
        without("PodMonitoring"),
    ]),
    (cluster.an_autoscaler_by_backlog_has_a_prometheus_that_knows_it, "keda", [
        without("PodMonitor"),
    ]),
    (cluster.metrics_are_scraped_where_they_are_served, "gke", [
        put("PodMonitoring", "spec/endpoints/0/port", "http"),
        put("PodMonitoring", "spec/endpoints/0/path", "/"),
        put("PodMonitoring", "spec/targetLabels/metadata", ["container"]),
    ]),
    (cluster.one_autoscaler_scales_the_deployment, PLAIN, [
        without("HorizontalPodAutoscaler"),
        twice("HorizontalPodAutoscaler"),
        put("HorizontalPodAutoscaler", "spec/scaleTargetRef/name", "ml-model"),
        put("HorizontalPodAutoscaler", "spec/minReplicas", 1),
        put("HorizontalPodAutoscaler", "spec/maxReplicas", 3),
        put("Deployment", "spec/replicas", 5),
    ]),
    (cluster.autoscalers_ask_for_metrics_that_are_served, "gke", [
        put("HorizontalPodAutoscaler", f"{BACKLOG}/metric/name", "x|sentiment_backlog_s|gauge"),
        put("HorizontalPodAutoscaler", f"{BACKLOG}/metric/name", "x|sentiment_texts_total|counter"),
        put("HorizontalPodAutoscaler", "spec/metrics/0", GONE),
    ]),
    (cluster.autoscalers_ask_for_metrics_that_are_served, "keda", [
        put("ScaledObject", f"{TRIGGER}/query", "sum(sentiment_backlog)"),
    ]),
    (cluster.cpu_asks_for_replicas_before_there_is_a_backlog, "gke", [
        put("HorizontalPodAutoscaler", "spec/metrics/1", GONE),
        put("HorizontalPodAutoscaler", "spec/metrics/1/resource/target/averageUtilization", 90),
    ]),
    (cluster.cpu_asks_for_replicas_before_there_is_a_backlog, "keda", [
        put("ScaledObject", "spec/triggers/1", GONE),
        put("ScaledObject", "spec/triggers/1/metadata/value", "90"),
    ]),
    (cluster.replicas_come_quickly_and_go_one_by_one, PLAIN, [
        put("HorizontalPodAutoscaler", "spec/behavior", GONE),
        put("HorizontalPodAutoscaler", "spec/behavior/scaleDown", GONE),
        put("HorizontalPodAutoscaler", "spec/behavior/scaleUp/stabilizationWindowSeconds", 300),
    ]),
    (cluster.replicas_come_quickly_and_go_one_by_one, "keda", [
        put("ScaledObject", "spec/advanced", GONE),
    ]),
    (cluster.replicas_are_asked_for_long_before_requests_are_refused, "gke", [
        put("HorizontalPodAutoscaler", f"{BACKLOG}/target/averageValue", "10"),
        setting("SENTIMENT_MAX_BACKLOG_S", "1"),
    ]),
    (cluster.replicas_are_asked_for_long_before_requests_are_refused, "keda", [
        put("ScaledObject", f"{TRIGGER}/threshold", "5"),
    ]),
    (cluster.an_overlay_has_a_namespace_that_refuses_what_is_not_hardened, "keda", [
        without("Namespace"),
        put("Namespace", "metadata/labels", {cluster.POLICY_OF_PODS: "baseline"}),
        put("Service", "metadata/namespace", "default"),
        put("ScaledObject", f"{TRIGGER}/query", "sum(sentiment_backlog_seconds)"),
    ]),
    (cluster.the_balancer_waits_longer_than_the_server_works, "public", [
        put("GCPBackendPolicy", "spec/default/timeoutSec", 30),
        put("GCPBackendPolicy", "spec/default/connectionDraining/drainingTimeoutSec", 0),
    ]),
    (cluster.the_balancer_closes_an_idle_connection_before_the_server_does, "public", [
        setting("SENTIMENT_KEEP_ALIVE_S", GONE),
        setting("SENTIMENT_KEEP_ALIVE_S", "600"),
    ]),
    (cluster.the_balancer_asks_for_readiness_without_a_key, "public", [
        put("HealthCheckPolicy", f"{CHECK}/requestPath", "/readyz/"),
        put("HealthCheckPolicy", f"{CHECK}/requestPath", "/info"),
        put("HealthCheckPolicy", f"{CHECK}/portSpecification", "USE_FIXED_PORT"),
        put("HealthCheckPolicy", "spec/default/timeoutSec", 6),
        put("HealthCheckPolicy", "spec/default/unhealthyThreshold", 10),
    ]),
    (cluster.policies_and_routes_lead_to_what_exists, "public", [
        put("HealthCheckPolicy", "spec/targetRef/name", "ml-model"),
        put("GCPGatewayPolicy", "spec/targetRef/kind", "Service"),
        put("HTTPRoute", "spec/parentRefs/0/sectionName", "tls"),
        put("HTTPRoute", "spec/rules/0/backendRefs/0/name", "ml-model"),
        put("HTTPRoute", "spec/rules/0/backendRefs/0/port", 8000),
    ]),
    (cluster.nothing_is_answered_without_tls_beside_a_gateway, "public", [
        put("Service", "spec/type", "LoadBalancer"),
        put("HTTPRoute", "spec/parentRefs/0/sectionName", "http"),
    ]),
    (cluster.a_gateway_has_its_certificate_from_a_map, "public", [
        put("Gateway", "metadata/annotations", GONE),
        put("Gateway", "spec/listeners/0", GONE),
    ]),
    (cluster.a_gpu_is_asked_for_where_one_is_needed, PLAIN, [
        setting("LD_LIBRARY_PATH", cluster.DRIVER),
    ]),
    (cluster.a_gpu_is_asked_for_where_one_is_needed, "gpu", [
        setting("LD_LIBRARY_PATH", GONE),
        setting("LD_LIBRARY_PATH", "/usr/local/cuda/lib64"),
        pod("tolerations", GONE),
        resource("nvidia.com/gpu", "4"),
        setting("SENTIMENT_DEVICE", GONE),
        container("resources/limits/nvidia.com~1gpu", GONE),
        pod("nodeSelector", {}),
    ]),
]  # fmt: skip
"""A rule, the manifests that keep it, and changes each of which must break it."""


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_manifests_keep_this_rule(rule, variant):
    rule(read(variant))


@pytest.mark.parametrize(
    ("rule", "variant", "mutation"),
    [
        pytest.param(rule, variant, mutation, id=f"{rule.__name__}-{number}")
        for rule, variant, mutations in BROKEN
        for number, mutation in enumerate(mutations)
    ],
)
def test_each_rule_finds_what_it_is_for(rule, variant, mutation):
    manifests = read(variant)
    mutation(manifests)
    with pytest.raises((AssertionError, KeyError, ValueError)):
        rule(manifests)


def test_every_rule_has_been_seen_to_find_something():
    assert {rule for rule, _, _ in BROKEN} == set(RULES)
