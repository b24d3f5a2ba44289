import pydantic
import pytest

from sentiment.errors import SettingsError
from sentiment.settings import Settings, usable_cores


def test_the_environment_overrides_defaults(monkeypatch):
    monkeypatch.setenv("SENTIMENT_MODEL", "ProsusAI/finbert@main")
    monkeypatch.setenv("SENTIMENT_THREADS", "3")
    monkeypatch.setenv("sentiment_deadline_s", "2.5")
    settings = Settings.from_env()
    assert settings.model == "ProsusAI/finbert@main"
    assert settings.thread_count == 3
    assert settings.deadline_s == 2.5


def test_threads_default_to_the_cores_that_this_process_may_use():
    assert Settings().thread_count == usable_cores() >= 1


def test_a_misspelt_setting_is_refused_with_the_right_names(monkeypatch):
    monkeypatch.setenv("SENTIMENT_TOKEN_BUGDET", "512")
    with pytest.raises(SettingsError, match=r"SENTIMENT_TOKEN_BUGDET; .*SENTIMENT_TOKEN_BUDGET"):
        Settings.from_env()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("THREADS", "0"),
        ("THREADS", "many"),
        ("DEVICE", "gpu"),
        ("ENGINE", "onnx"),
        ("TOKEN_BUDGET", "-1"),
        ("DEADLINE_S", "0"),
        ("DEADLINE_S", "inf"),
        ("DEADLINE_S", "nan"),
        ("MAX_BODY_BYTES", "4MiB"),
        ("LOG_LEVEL", "loud"),
        ("HEAD_TIMEOUT_S", "0"),
        ("BODY_TIMEOUT_S", "inf"),
        ("WRITE_TIMEOUT_S", "-1"),
        ("KEEP_ALIVE_S", "0"),
        ("DRAIN_S", "nan"),
        ("DRAIN_DELAY_S", "-1"),
        ("METRICS_PORT", "65536"),
        ("METRICS_PORT", ""),
    ],
)
def test_an_impossible_value_is_refused_by_name(monkeypatch, name, value):
    monkeypatch.setenv(f"SENTIMENT_{name}", value)
    with pytest.raises(SettingsError, match=f"SENTIMENT_{name}='{value}': "):
        Settings.from_env()


def test_every_wrong_setting_is_named_at_once(monkeypatch):
    monkeypatch.setenv("SENTIMENT_DEVICE", "gpu")
    monkeypatch.setenv("SENTIMENT_TOKEN_BUDGET", "x")
    with pytest.raises(SettingsError, match=r"(?s)DEVICE.*TOKEN_BUDGET"):
        Settings.from_env()


def test_settings_do_not_change():
    with pytest.raises(pydantic.ValidationError):
        Settings().model = "other"


def test_every_setting_says_what_it_is_for(repository):
    source = (repository / "sentiment" / "settings.py").read_text()
    for name in Settings.model_fields:
        declaration = source.split(f"    {name}: ", 1)[1]
        assert declaration.split("\n", 1)[1].lstrip().startswith('"""'), name
