"""Rules for one pod: how it starts, what it may do, how it ends."""

import re

from opentelemetry.sdk import environment_variables as telemetry

from sentiment.api.app import PROBES
from sentiment.launcher import LAST_WORDS_S
from sentiment.settings import ENV_PREFIX, Settings
from tests.conftest import REPOSITORY
from tests.manifests.reading import Rules, mebibytes

MARGIN_S = 5
"""For what a process needs beside its own bounds, on a busy node."""

NODES_KNOW_S = 5
"""By then every node has heard of a pod's end: its probes, and the way of the news."""

MODEL_NEEDS_MIB = 1024
"""A BERT-base in fp32 after all loads, rounded up (docs/performance.md)."""

HOME_NEEDS_MIB = 64
"""What libraries may want to keep in the home, which is /tmp."""

KNOWN_VARIABLES = {"HF_HUB_OFFLINE", "LD_LIBRARY_PATH"}
"""Beside settings and OpenTelemetry's own."""

RULES = Rules()


@RULES.add
def a_pod_is_given_the_time_that_its_end_may_take(manifests):
    settings = manifests.settings
    # Twice half of the last words, for connections and for probes, and once to close the model.
    end_s = settings.drain_delay_s + settings.drain_s + 2 * LAST_WORDS_S
    grace_s = manifests.pod["spec"]["terminationGracePeriodSeconds"]
    assert manifests.sleep_s + end_s + MARGIN_S <= grace_s


@RULES.add
def what_was_accepted_has_its_whole_deadline_in_the_drain(manifests):
    settings = manifests.settings
    assert settings.drain_s >= settings.deadline_s


@RULES.add
def a_pod_serves_until_every_node_knows_of_its_end(manifests):
    probe = manifests.container["readinessProbe"]
    red_s = probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"]
    assert manifests.sleep_s >= max(red_s, NODES_KNOW_S)


@RULES.add
def no_update_takes_a_replica_before_another_serves(manifests):
    rolling = manifests.one("Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert rolling["maxUnavailable"] == 0
    assert rolling["maxSurge"] >= 1
    assert manifests.one("Deployment")["spec"]["revisionHistoryLimit"] >= 1  # for a rollback


@RULES.add
def a_replica_is_known_everywhere_before_an_old_one_goes(manifests):
    # News of a pod that serves take as long as news of one that ends.
    assert manifests.one("Deployment")["spec"]["minReadySeconds"] >= manifests.sleep_s


@RULES.add
def probes_ask_routes_that_the_metrics_port_serves(manifests):
    served = {route.path for route in PROBES}
    ports = {port["name"]: port["containerPort"] for port in manifests.container["ports"]}
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = manifests.container[name]["httpGet"]
        assert asked["path"] in served
        assert ports[asked["port"]] == manifests.settings.metrics_port


@RULES.add
def readiness_and_liveness_are_two_questions(manifests):
    assert manifests.container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert manifests.container["livenessProbe"]["httpGet"]["path"] == "/livez"


@RULES.add
def a_start_may_take_minutes_and_a_lost_engine_its_time(manifests):
    def window_s(name):
        probe = manifests.container[name]
        return probe["periodSeconds"] * probe["failureThreshold"]

    deployment = manifests.one("Deployment")["spec"]
    unknown_s = window_s("startupProbe") + deployment["minReadySeconds"]
    assert deployment["progressDeadlineSeconds"] > unknown_s
    assert window_s("startupProbe") >= 120  # a large model and a GPU; README measures 1.2 s
    assert window_s("livenessProbe") > manifests.settings.engine_timeout_s


@RULES.add
def a_start_that_fails_says_why(manifests):
    assert manifests.container["terminationMessagePolicy"] == "FallbackToLogsOnError"


@RULES.add
def every_variable_is_a_setting_with_a_value_that_it_takes(manifests):
    assert manifests.settings  # or ValidationError
    for said in manifests.container["env"]:
        name = said["name"].removeprefix(ENV_PREFIX).lower()
        assert (
            name in Settings.model_fields
            or said["name"] in KNOWN_VARIABLES
            or said["name"] in vars(telemetry).values()
        )


@RULES.add
def settings_and_port_names_agree(manifests):
    ports = {port["name"]: port["containerPort"] for port in manifests.container["ports"]}
    assert ports == {"http": 8000, "metrics": manifests.settings.metrics_port}
    # What follows `python -m sentiment` in the image.
    assert manifests.container["args"] == ["serve", "--host", "0.0.0.0", "--port", "8000"]


@RULES.add
def nothing_is_fetched_at_the_start(manifests):
    assert manifests.environment["HF_HUB_OFFLINE"] == "1"


@RULES.add
def the_model_is_the_one_in_the_image(manifests):
    (path,) = re.findall(r"SENTIMENT_MODEL=(\S+)", (REPOSITORY / "Dockerfile").read_text())
    assert manifests.settings.model == path


@RULES.add
def a_pod_runs_where_its_image_does(manifests):
    # The image's libraries are locked for x86-64 alone.
    assert manifests.pod["spec"]["nodeSelector"]["kubernetes.io/arch"] == "amd64"


@RULES.add
def what_is_asked_for_is_what_is_given(manifests):
    resources = manifests.container["resources"]
    assert resources["requests"] == resources["limits"]  # the class `Guaranteed`
    assert {"cpu", "memory", "ephemeral-storage"} <= resources["limits"].keys()
    assert mebibytes(resources["limits"]["memory"]) > MODEL_NEEDS_MIB


@RULES.add
def threads_are_the_cores_of_the_limit(manifests):
    # A name, no figure: a patch of the limit brings its threads along.
    (said,) = (each for each in manifests.container["env"] if each["name"] == "SENTIMENT_THREADS")
    assert said["valueFrom"]["resourceFieldRef"]["resource"] == "limits.cpu"
    assert re.fullmatch(r"[1-9]\d*", manifests.container["resources"]["limits"]["cpu"])


@RULES.add
def the_container_may_do_nothing_but_serve(manifests):
    pod, container = manifests.pod["spec"], manifests.container["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["runAsGroup"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["allowPrivilegeEscalation"] is False
    assert container["readOnlyRootFilesystem"] is True
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert pod["automountServiceAccountToken"] is False
    assert manifests.one("ServiceAccount")["metadata"]["name"] == pod["serviceAccountName"]
    assert pod["enableServiceLinks"] is False


@RULES.add
def what_can_be_written_is_bounded(manifests):
    volumes = {volume["name"]: volume for volume in manifests.pod["spec"]["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in manifests.container["volumeMounts"]}
    assert "/tmp" in mounts
    most = mebibytes(manifests.container["resources"]["limits"]["ephemeral-storage"])
    for name in mounts.values():
        assert HOME_NEEDS_MIB <= mebibytes(volumes[name]["emptyDir"]["sizeLimit"]) < most


@RULES.add
def an_image_is_one_and_stays_one(manifests):
    assert re.search(r"@sha256:|:(?!latest$)[\w.-]+$", manifests.container["image"])


@RULES.add
def keys_are_secrets_that_must_be_there(manifests):
    for said in manifests.container["env"]:
        if said["name"] == "SENTIMENT_API_KEYS":
            assert not said["valueFrom"]["secretKeyRef"].get("optional")
