"""What is hidden, in each form that it takes on the way to whoever reads."""

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components import redaction
from components.errors import BadInput, ResumeLater, UserError
from components.redaction import redacted
from components.registry.tracking import connected
from components.settings import RegisterSettings, load_settings
from components.storage import git
from tests.made import write_params

PASSWORD = "p4ss-w0rd/+ %"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at postgresql://ada:pw@db:5432/x", "at postgresql://ada:***@db:5432/x"),
        ("postgresql+psycopg://mlflow@db/x", "postgresql+psycopg://mlflow@db/x"),
        ("https://ghp_abcdef@host/x.git", "https://***@host/x.git"),
        ("https://x-token:ghp_abc@host/x.git'", "https://x-token:***@host/x.git'"),
        ("ssh://git@host/x.git and me@host", "ssh://git@host/x.git and me@host"),
        ("http://a:b@c@d/x", "http://a:***@d/x"),
        ("GET /x?X-Amz-Signature=abc&y=1", "GET /x?X-Amz-Signature=***&y=1"),
        ("GET /x?password=abc", "GET /x?password=***"),
        ("'Authorization': 'Basic YWJjOmRlZg=='", "'Authorization': 'Basic ***'"),
        ("http://host:5000/api?order=1", "http://host:5000/api?order=1"),
    ],
)
def test_urls_and_headers_show_no_password(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_a_variable_is_hidden_in_every_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    for form in (PASSWORD, "p4ss-w0rd%2F%2B%20%25", "p4ss-w0rd%2F%2B+%25", "YWRhOnA0c3MtdzByZC8rICU="):
        assert redacted(f"<{form}>") == "<***>"


def test_a_secret_in_json_and_a_key_of_several_lines_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    password, body = 'pä"ss\\wörd', "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v"
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    monkeypatch.setenv("DP2O_SIGNING_KEY", f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
    for shown in (json.dumps([password]), json.dumps([password], ensure_ascii=False), repr([password])):
        assert redacted(shown) in ('["***"]', "['***']")
    for shown in (f"    {body}", repr(dict(os.environ)), json.dumps(dict(os.environ))):
        assert body not in redacted(shown)


def test_a_long_word_takes_no_longer_than_many_short_ones() -> None:
    """A page of a proxy, minified, or a dump in hex comes in one line; an error quotes it."""
    began = time.process_time()
    text = "a" * 300_000 + "@"
    assert redacted(text) == text
    assert time.process_time() - began < 5.0


def test_short_words_and_plain_variables_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_PASSWORD", "no")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "disabled")
    assert redacted("no, it is disabled") == "no, it is disabled"


def test_an_error_of_the_users_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TOKEN", "ghp_0123456789")
    for kind in UserError.__subclasses__():
        assert "ghp_" not in str(kind("it said ghp_0123456789"))


def test_git_says_no_token(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as raised:
        git.clone("http://ada:ghp_secret@127.0.0.1:9/x.git", "main", tmp_path / "clone")
    assert "127.0.0.1:9" in str(raised.value)
    assert "ghp_secret" not in str(raised.value)


def test_mlflow_says_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:secret-word@127.0.0.1:9")
    settings = RegisterSettings(experiment="e", model_name="m", tracking_uri="sqlite:///x.db")
    with pytest.raises(ResumeLater) as raised, connected(settings, tmp_path) as client:
        client.get_experiment_by_name("e")
    assert "127.0.0.1" in str(raised.value)
    assert "secret-word" not in str(raised.value)


def test_an_error_of_others_is_scrubbed_with_what_led_to_it() -> None:
    def fail() -> None:
        try:
            raise OSError(2, "no http://a:secret-word@h")
        except OSError as error:
            raise ValueError("by http://a:secret-word@h") from error

    with pytest.raises(ValueError, match="by http") as raised, redaction.scrubbed():
        fail()
    cause = raised.value.__cause__
    assert "secret-word" not in f"{raised.value} {cause} {cause.args if cause else ''}"


def test_records_and_tracebacks_of_a_process_have_no_secret() -> None:
    program = """
import logging, threading
from components import redaction
redaction.install(); redaction.install()
logging.basicConfig(format="%(message)s")
logging.warning("at %s", "http://a:secret-word@h")
try:
    raise RuntimeError("in http://a:secret-word@h")
except RuntimeError:
    logging.exception("failed")
def fail(): raise RuntimeError("thread http://a:secret-word@h")
thread = threading.Thread(target=fail); thread.start(); thread.join()
fail()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1
    assert "secret-word" not in done.stderr
    for text in ("at http://a:***@h", "in http://a:***@h", "Traceback"):
        assert text in done.stderr
    assert done.stderr.count("RuntimeError: thread http://a:***@h") == 2


def test_a_record_that_does_not_fit_its_arguments_stays(caplog: pytest.LogCaptureFixture) -> None:
    redaction.install()
    record = logging.getLogRecordFactory()("x", 30, "f", 1, "%d", ("no number",), None)
    assert record.args == ("no number",)


@pytest.mark.parametrize("setting", ["register.tracking_uri", "run.shared_cache", "intake.source", "monitor.pairs"])
def test_a_url_of_the_settings_has_no_password(setting: str, tmp_path: Path) -> None:
    block, _, key = setting.partition(".")
    with pytest.raises(BadInput) as raised:
        write_params(tmp_path, **{block: {key: "s3://ada:secret-word@host/x"}})
    assert setting in str(raised.value)
    assert "committed" in str(raised.value)
    assert "secret-word" not in str(raised.value)


def test_a_webhook_is_shown_nowhere(tmp_path: Path) -> None:
    url = "https://hooks.example.com/services/T0/B0/xyz-secret"
    settings = write_params(tmp_path, register={"webhook": url})
    assert load_settings(tmp_path / "params.yaml").register_.webhook.get_secret_value() == url
    assert "xyz-secret" not in f"{settings!r} {settings} {settings.model_dump_json(by_alias=True)}"
    assert redacted(f"to {url}") == "to ***"
