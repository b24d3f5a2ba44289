"""What clients notice: answers, failures, time, refusals, and the queue behind them."""

from collections.abc import Sequence

from deploy.grafana.panels import (
    ANSWERED,
    DEPLOYMENT,
    FIRING,
    OURS,
    ROUTED,
    WORK,
    Panel,
    Query,
    mean,
    quantiles,
    rate,
)

SERVICE_ROWS: dict[str, Sequence[Panel]] = {
    "Now": (
        Panel(
            "Ready",
            "Processes that take requests. 0 is an outage.",
            "none",
            [Query(f"sum(sentiment_ready{{{OURS}}})")],
            width=3,
            kind="stat",
            thresholds=(("red", float("-inf")), ("green", 1)),
        ),
        Panel(
            "Alerts",
            "Alerts of deploy/prometheus/rules.yaml that fire.",
            "none",
            [Query(f"count(ALERTS{{{FIRING}}}) or vector(0)")],
            width=3,
            kind="stat",
            thresholds=(("red", 1),),
        ),
        Panel(
            "Requests",
            "Requests a second that want something classified, whatever the answer.",
            "reqps",
            [Query(f"sum({rate('sentiment_requests_total', WORK)})")],
            width=3,
            kind="stat",
        ),
        Panel(
            "Texts",
            "Texts classified a second.",
            "short",
            [Query(f"sum({rate('sentiment_texts_total')})")],
            width=3,
            kind="stat",
        ),
        Panel(
            "Failed",
            "Share of requests that failed by our fault (5xx) in five minutes; objective 0.1 %.",
            "percentunit",
            [Query(f"max(job:sentiment_failed_requests:ratio_rate5m{{{DEPLOYMENT}}})")],
            width=3,
            kind="stat",
            thresholds=(("orange", 0.001), ("red", 0.0144)),
        ),
        Panel(
            "Slow",
            "Share of answers that took longer than 2.5 s in five minutes; objective 1 %.",
            "percentunit",
            [Query(f"max(job:sentiment_slow_requests:ratio_rate5m{{{DEPLOYMENT}}})")],
            width=3,
            kind="stat",
            thresholds=(("orange", 0.01), ("red", 0.144)),
        ),
        Panel(
            "Refused",
            "Share of requests refused for want of room (429) in five minutes.",
            "percentunit",
            [Query(f"max(job:sentiment_refused_requests:ratio_rate5m{{{DEPLOYMENT}}})")],
            width=3,
            kind="stat",
            thresholds=(("orange", 0.05), ("red", 0.5)),
        ),
        Panel(
            "Backlog",
            "Predicted work ahead, of the most that is taken, at the latest replica.",
            "percentunit",
            [
                Query(
                    f"max(sentiment_backlog_seconds{{{OURS}}}"
                    f" / sentiment_max_backlog_seconds{{{OURS}}})"
                )
            ],
            width=3,
            kind="stat",
            thresholds=(("orange", 0.5), ("red", 0.8)),
        ),
    ),
    "Requests": (
        Panel(
            "Requests by route",
            "Answers a second, probes and pages included.",
            "reqps",
            [Query(f"sum by (route) ({rate('sentiment_requests_total', ROUTED)})", "{{route}}")],
            stacked=True,
        ),
        Panel(
            "Requests by status",
            "4xx: the client's fault; 429: want of room; 499: a client that hung up; 5xx: ours.",
            "reqps",
            [Query(f"sum by (status) ({rate('sentiment_requests_total', ROUTED)})", "{{status}}")],
            stacked=True,
        ),
        Panel(
            "Error budget: share of failed requests",
            "The month's objective is 0.1 %. Over 1.44 % for an hour wakes somebody.",
            "percentunit",
            [
                Query(
                    f"job:sentiment_failed_requests:ratio_rate{window}{{{DEPLOYMENT}}}",
                    f"{window} {{{{namespace}}}} {{{{job}}}}",
                )
                for window in ("5m", "1h", "6h", "3d")
            ],
            thresholds=(("orange", 0.001), ("red", 0.0144)),
        ),
        Panel(
            "Latency",
            "From a request's head to its answer's end; refusals and streams aside.",
            "s",
            quantiles("request_seconds", f'{ANSWERED}, route!~".*/v1/stream"'),
        ),
        Panel(
            "Latency by route, p99",
            "Routes whose requests hold many texts take longer.",
            "s",
            [
                Query(
                    "histogram_quantile(0.99, sum by (route, le) "
                    f"({rate('sentiment_request_seconds_bucket', ANSWERED)}))",
                    "{{route}}",
                )
            ],
        ),
        Panel(
            "Latency budget: share of slow answers",
            "Over 2.5 s, streams and articles aside. The month's objective is 1 %.",
            "percentunit",
            [
                Query(
                    f"job:sentiment_slow_requests:ratio_rate{window}{{{DEPLOYMENT}}}",
                    f"{window} {{{{namespace}}}} {{{{job}}}}",
                )
                for window in ("5m", "1h", "6h", "3d")
            ],
            thresholds=(("orange", 0.01), ("red", 0.144)),
        ),
        Panel(
            "Latency, all of it",
            "How many answers took how long; two bands are two kinds of request.",
            "s",
            [
                Query(
                    "sum by (le) (increase("
                    f"sentiment_request_seconds_bucket{{{ANSWERED}}}[$__rate_interval]))",
                    "{{le}}",
                    format="heatmap",
                )
            ],
            kind="heatmap",
        ),
        Panel(
            "Where the time goes",
            "Means of the parts of an answer: a pass is of a batch, the others are of a request.",
            "s",
            [
                mean("tokenize_seconds", "tokenising"),
                mean("queue_seconds", "waiting"),
                mean("infer_seconds", "one pass"),
            ],
        ),
        Panel(
            "Refusals by reason",
            "Requests refused, by the error's code. docs/api.md says what each means.",
            "reqps",
            [Query(f"sum by (reason) ({rate('sentiment_rejected_total')})", "{{reason}}")],
            stacked=True,
        ),
    ),
    "Queue": (
        Panel(
            "Backlog and its limit",
            "Predicted seconds until all is done; at the limit new requests get 429. Scale on it.",
            "s",
            [
                Query(f"sentiment_backlog_seconds{{{OURS}}}", "{{instance}}"),
                Query(f"min(sentiment_max_backlog_seconds{{{OURS}}})", "limit"),
            ],
        ),
        Panel(
            "Waiting texts",
            "Texts that wait for a batch.",
            "short",
            [Query(f"sentiment_queue_texts{{{OURS}}}", "{{instance}}")],
            stacked=True,
        ),
        Panel(
            "Waiting tokens",
            "Tokens that wait for a batch, those still being tokenised included.",
            "short",
            [Query(f"sentiment_queue_tokens{{{OURS}}}", "{{instance}}")],
            stacked=True,
        ),
        Panel(
            "Time in the queue",
            "From a request's tokens to the start of its first batch.",
            "s",
            quantiles("queue_seconds"),
        ),
        Panel(
            "Tokenising",
            "Of one request, waiting for a thread included.",
            "s",
            quantiles("tokenize_seconds"),
        ),
        Panel(
            "Open streams",
            "SENTIMENT_MAX_STREAMS bounds them at each process.",
            "short",
            [Query(f"sentiment_streams{{{OURS}}}", "{{instance}}")],
            stacked=True,
        ),
    ),
}
