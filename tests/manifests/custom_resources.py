"""JSON schemas of the custom resources that the overlays use, as narrow as their use.

Each names only the fields that we write, with the types and bounds that the project's own
CustomResourceDefinition gives them: GoogleCloudPlatform/gke-gateway-api (policies),
GoogleCloudPlatform/prometheus-engine (PodMonitoring), prometheus-operator/prometheus-operator
(PodMonitor), kedacore/keda (ScaledObject),
kubernetes-sigs/gateway-api v1 (Gateway, HTTPRoute). A field that is not here is refused, so that
whoever wants a new one looks it up.
"""

TEXT = {"type": "string", "minLength": 1}
NAME = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
HOST = {"type": "string", "pattern": r"^(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "maxLength": 253}
DURATION = {"type": "string", "pattern": r"^([0-9]+(ms|s|m|h))+$"}
WORDS = {"type": "object", "additionalProperties": {"type": "string"}}


def whole(minimum, maximum):
    return {"type": "integer", "minimum": minimum, "maximum": maximum}


def one_of(*values):
    return {"enum": list(values)}


def list_of(item):
    return {"type": "array", "items": item, "minItems": 1}


def fields(*required, **known):
    """An object of the `known` fields and no others."""
    return {
        "type": "object",
        "properties": known,
        "required": list(required),
        "additionalProperties": False,
    }


PORT = whole(1, 65535)
SELECTOR = fields(matchLabels=WORDS)
TARGET = fields("group", "kind", "name", group={"type": "string"}, kind=TEXT, name=TEXT)

SCALING = fields(
    stabilizationWindowSeconds=whole(0, 3600),
    selectPolicy=one_of("Max", "Min", "Disabled"),
    policies=list_of(
        fields(
            "type", "value", "periodSeconds",
            type=one_of("Pods", "Percent"),
            value=whole(1, 2**31 - 1),
            periodSeconds=whole(1, 1800),
        )
    ),
)  # fmt: skip

KEDA_TRIGGERS = {
    "prometheus": fields(
        "serverAddress", "query", "threshold",
        serverAddress=TEXT,
        query=TEXT,
        threshold={"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"},
        ignoreNullValues=one_of("true", "false"),
    ),
    "cpu": fields("value", value={"type": "string", "pattern": "^[0-9]+$"}),
}  # fmt: skip

SPECS = {
    "monitoring.googleapis.com/v1 PodMonitoring": fields(
        "selector", "endpoints",
        selector=SELECTOR,
        endpoints=list_of(
            fields("port", port={"anyOf": [NAME, PORT]}, path=TEXT, interval=DURATION)
        ),
        targetLabels=fields(
            metadata=list_of(
                one_of(
                    "container", "node", "pod",
                    "top_level_controller_name", "top_level_controller_type",
                )
            )
        ),
    ),
    "monitoring.coreos.com/v1 PodMonitor": fields(
        "selector", "podMetricsEndpoints",
        selector=SELECTOR,
        podMetricsEndpoints=list_of(
            fields("port", port=NAME, path=TEXT, interval=DURATION)
        ),
    ),
    "keda.sh/v1alpha1 ScaledObject": fields(
        "scaleTargetRef", "triggers",
        scaleTargetRef=fields("name", apiVersion=TEXT, kind=TEXT, name=NAME),
        minReplicaCount=whole(0, 2**31 - 1),
        maxReplicaCount=whole(1, 2**31 - 1),
        pollingInterval=whole(1, 2**31 - 1),
        fallback=fields(
            "failureThreshold", "replicas",
            failureThreshold=whole(0, 2**31 - 1),
            replicas=whole(0, 2**31 - 1),
        ),
        triggers=list_of(
            {
                "anyOf": [
                    fields(
                        "type", "metadata",
                        type={"const": kind},
                        metricType=one_of("AverageValue", "Value", "Utilization"),
                        metadata=metadata,
                    )
                    for kind, metadata in KEDA_TRIGGERS.items()
                ]
            }
        ),
        advanced=fields(
            horizontalPodAutoscalerConfig=fields(
                behavior=fields(scaleUp=SCALING, scaleDown=SCALING)
            )
        ),
    ),
    "gateway.networking.k8s.io/v1 Gateway": fields(
        "gatewayClassName", "listeners",
        gatewayClassName=TEXT,
        addresses=list_of(
            fields("value", type=one_of("IPAddress", "Hostname", "NamedAddress"), value=TEXT)
        ),
        listeners=list_of(
            fields(
                "name", "port", "protocol",
                name=NAME,
                port=PORT,
                protocol=one_of("HTTP", "HTTPS"),
                hostname=HOST,
                allowedRoutes=fields(namespaces=fields(**{"from": one_of("All", "Same")})),
            )
        ),
    ),
    "gateway.networking.k8s.io/v1 HTTPRoute": fields(
        "parentRefs", "rules",
        parentRefs=list_of(fields("name", name=NAME, sectionName=NAME)),
        hostnames=list_of(HOST),
        rules=list_of(
            fields(
                backendRefs=list_of(fields("name", "port", name=NAME, port=PORT)),
                filters=list_of(
                    fields(
                        "type", "requestRedirect",
                        type={"const": "RequestRedirect"},
                        requestRedirect=fields(
                            scheme=one_of("http", "https"), statusCode=one_of(301, 302)
                        ),
                    )
                ),
            )
        ),
    ),
    "networking.gke.io/v1 HealthCheckPolicy": fields(
        "targetRef",
        targetRef=TARGET,
        default=fields(
            checkIntervalSec=whole(1, 300),
            timeoutSec=whole(1, 300),
            healthyThreshold=whole(1, 10),
            unhealthyThreshold=whole(1, 10),
            config=fields(
                "type", "httpHealthCheck",
                type={"const": "HTTP"},
                httpHealthCheck=fields(
                    portSpecification=one_of("USE_FIXED_PORT", "USE_SERVING_PORT"),
                    port=PORT,
                    requestPath={"type": "string", "pattern": "^/", "maxLength": 2048},
                ),
            ),
        ),
    ),
    "networking.gke.io/v1 GCPBackendPolicy": fields(
        "targetRef",
        targetRef=TARGET,
        default=fields(
            timeoutSec=whole(1, 2**31 - 1),
            connectionDraining=fields(drainingTimeoutSec=whole(0, 3600)),
            logging=fields(enabled={"type": "boolean"}, sampleRate=whole(0, 1_000_000)),
            securityPolicy=TEXT,
        ),
    ),
    "networking.gke.io/v1 GCPGatewayPolicy": fields(
        "targetRef", targetRef=TARGET, default=fields(sslPolicy=TEXT)
    ),
}  # fmt: skip
"""API version and kind -> what `spec` may hold."""


def schema_of(resource):
    """Return the schema of a whole custom resource; KeyError for a kind that is not known."""
    return fields(
        "apiVersion", "kind", "metadata", "spec",
        apiVersion=TEXT,
        kind=TEXT,
        metadata=fields("name", name=NAME, namespace=NAME, labels=WORDS, annotations=WORDS),
        spec=SPECS[f"{resource['apiVersion']} {resource['kind']}"],
    )  # fmt: skip
