"""What is behind it: batches, texts and processes."""

from collections.abc import Sequence

from deploy.grafana.panels import DEPLOYMENT, OURS, Panel, Query, mean, quantiles, rate


def share_of_texts(name: str, legend: str) -> Query:
    """Return what part of the texts classified a counter has counted."""
    counted, texts = rate(f"sentiment_{name}_total"), rate("sentiment_texts_total")
    return Query(f"sum({counted}) / sum({texts})", legend)


ENGINE_ROWS: dict[str, Sequence[Panel]] = {
    "Batches": (
        Panel(
            "Engine busy",
            "Share of time in which passes run. Near 100 % the engine is what is full.",
            "percentunit",
            [
                Query(
                    f"sum by (instance) ({rate('sentiment_infer_seconds_sum')})"
                    f" / sum by (instance) (sentiment_worker_processes{{{OURS}}})",
                    "{{instance}}",
                )
            ],
            maximum=1,
        ),
        Panel(
            "Texts in a batch",
            "The mean: one while idle; it grows with the load, and that is what batching is for.",
            "short",
            [mean("batch_texts", "mean")],
        ),
        Panel(
            "Tokens in a batch",
            "Under load close to the budget, which falls when memory runs out.",
            "short",
            [
                mean("batch_tokens", "mean"),
                *quantiles("batch_tokens")[1:],
                Query(f"min(sentiment_token_budget{{{OURS}}})", "budget"),
            ],
        ),
        Panel(
            "Tokens a second",
            "What the engine computes, padding aside.",
            "short",
            [Query(f"sum by (instance) ({rate('sentiment_batch_tokens_sum')})", "{{instance}}")],
            stacked=True,
        ),
        Panel(
            "One pass",
            "How long a batch takes in the engine.",
            "s",
            quantiles("infer_seconds"),
        ),
        Panel(
            "Padding",
            "Share of a batch's computed tokens that is padding; 0 with the engines that pack.",
            "percentunit",
            [mean("padding_ratio", "mean")],
            maximum=1,
        ),
        Panel(
            "Error of the prediction",
            "How far the predicted time of a batch was off. Admission is as good as this.",
            "percentunit",
            quantiles("prediction_error_ratio"),
        ),
        Panel(
            "Failed passes",
            "Passes a second that failed, those of the search for the culprit included.",
            "short",
            [
                Query(
                    f"sum by (instance) ({rate('sentiment_failed_batches_total')})", "{{instance}}"
                )
            ],
        ),
        Panel(
            "Engine restarts in an hour",
            "How often the engine was lost and opened again.",
            "short",
            [
                Query(
                    f"sum by (instance) (increase(sentiment_worker_restarts_total{{{OURS}}}[1h]))",
                    "{{instance}}",
                )
            ],
            thresholds=(("red", 2),),
        ),
    ),
    "Texts": (
        Panel(
            "Labels",
            "Share of each label among the texts classified.",
            "percentunit",
            [
                Query(
                    f"sum by (label) ({rate('sentiment_texts_total')})"
                    f" / scalar(sum({rate('sentiment_texts_total')}))",
                    "{{label}}",
                )
            ],
            stacked=True,
            maximum=1,
        ),
        Panel(
            "Drift",
            "Share of a label in the last hour less that of the week before. An alert at 15 %.",
            "percentunit",
            [
                Query(
                    f"job_label:sentiment_texts:drift{{{DEPLOYMENT}}}",
                    "{{label}} {{namespace}} {{job}}",
                )
            ],
            minimum=None,
        ),
        Panel(
            "Truncated",
            "Share of texts longer than the model reads, in an hour.",
            "percentunit",
            [
                Query(
                    f"job:sentiment_truncated_texts:share1h{{{DEPLOYMENT}}}",
                    "{{namespace}} {{job}}",
                )
            ],
            thresholds=(("orange", 0.05),),
        ),
        Panel(
            "Not computed",
            "Share of texts without a pass: from the cache, or shared with an equal one in flight.",
            "percentunit",
            [
                share_of_texts("cache_hits", "from the cache"),
                share_of_texts("coalesced", "shared"),
            ],
            maximum=1,
        ),
        Panel(
            "Remembered texts",
            "SENTIMENT_CACHE_TEXTS bounds them at each process.",
            "short",
            [Query(f"sentiment_cache_texts{{{OURS}}}", "{{instance}}")],
        ),
        Panel(
            "Models",
            "What is served, and by how many targets; two rows outside of a rollout are a mistake.",
            "none",
            [
                Query(
                    "count by (name, revision, engine, precision) "
                    f"(sentiment_model_info{{{OURS}}} == 1)",
                    format="table",
                    instant=True,
                )
            ],
            kind="table",
        ),
    ),
    "Processes": (
        Panel(
            "Event loop lag",
            "How late the loop wakes a sleeper. Every answer waits for that, probes too.",
            "s",
            quantiles("event_loop_lag_seconds"),
            thresholds=(("red", 0.25),),
        ),
        Panel(
            "Cores",
            "Cores in use, of all worker processes.",
            "short",
            [Query(f"sum by (instance) ({rate('sentiment_cpu_seconds_total')})", "{{instance}}")],
            width=8,
        ),
        Panel(
            "Memory",
            "Resident memory of all worker processes, shared pages counted in each.",
            "bytes",
            [Query(f"sentiment_memory_bytes{{{OURS}}}", "{{instance}}")],
        ),
        Panel(
            "Processes",
            "As many serve as --workers says, and all of them are ready.",
            "short",
            [
                Query(f"sum(sentiment_wanted_worker_processes{{{OURS}}})", "wanted"),
                Query(f"sum(sentiment_worker_processes{{{OURS}}})", "serve"),
                Query(f"sum(sentiment_ready{{{OURS}}})", "ready"),
            ],
            width=12,
        ),
        Panel(
            "Targets that cannot be scraped",
            "Of those that were this server's within the last day.",
            "short",
            [
                Query(
                    f"up{{{OURS}}} == bool 0 and on (namespace, job, instance) "
                    f"present_over_time(sentiment_ready{{{OURS}}}[1d])",
                    "{{instance}}",
                )
            ],
            width=12,
        ),
    ),
}
