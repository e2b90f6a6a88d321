"""One configuration in, safe clients out, and unsafe settings refused with what to write."""

from __future__ import annotations

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, Producer
from confluent_kafka.admin import AdminClient

from chio_fast.errors import ChioConfigError
from chio_fast.kafka import config
from tests.kafka.transactions import ignore

BASE = {"bootstrap.servers": "127.0.0.1:1", "group.id": "workers"}


def test_a_bare_configuration_becomes_safe_and_fast():
    settings = config.consumer_config(BASE, ignore)
    assert settings["enable.auto.commit"] is False
    assert settings["enable.auto.offset.store"] is False
    assert settings["isolation.level"] == "read_committed"
    assert settings["fetch.queue.backoff.ms"] == 10
    assert callable(settings["error_cb"])


@pytest.mark.parametrize("name", ["enable.auto.commit", "enable.auto.offset.store"])
@pytest.mark.parametrize("value", [True, "true", 1])
def test_settings_that_commit_what_nobody_saw_are_refused(name: str, value: object):
    with pytest.raises(ChioConfigError, match=f"{name}=false"):
        config.consumer_config({**BASE, name: value}, ignore)


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("acks", 1, "acks=all"),
        ("request.required.acks", "0", "request.required.acks=all"),
        ("enable.idempotence", False, "enable.idempotence=true"),
        ("transactional.id", "t", "remove it"),
    ],
)
def test_settings_that_could_lose_or_double_a_denial_are_refused(name: str, value: object, instead: str):
    with pytest.raises(ChioConfigError, match=instead):
        config.producer_config({**BASE, name: value}, ignore)


def test_a_group_is_required():
    with pytest.raises(ChioConfigError, match=r"group\.id"):
        config.consumer_config({"bootstrap.servers": "x:1"}, ignore)


def test_a_callback_that_would_never_be_called_is_refused():
    with pytest.raises(ChioConfigError, match="on_commit="):
        config.consumer_config({**BASE, "on_commit": ignore}, ignore)


def test_the_applications_own_choices_stay():
    settings = config.consumer_config({**BASE, "fetch.queue.backoff.ms": 50}, ignore)
    assert settings["fetch.queue.backoff.ms"] == 50


@pytest.mark.parametrize("word", ["earliest", "LATEST", "error", None])
def test_the_client_never_chooses_where_to_begin(word: str | None):
    conf = BASE if word is None else {**BASE, "auto.offset.reset": word}
    assert config.consumer_config(conf, ignore)["auto.offset.reset"] == "error"
    wanted = {"LATEST": OFFSET_END, "error": None}
    assert config.reset_of(conf) == wanted.get(word or "", OFFSET_BEGINNING)


def test_a_place_where_the_client_alone_reads_is_refused():
    with pytest.raises(ChioConfigError, match=r"write it beside `group\.id`"):
        config.consumer_config({**BASE, "default.topic.config": {"auto.offset.reset": "earliest"}}, ignore)


def test_a_word_that_the_client_does_not_know_is_refused():
    with pytest.raises(ChioConfigError, match=r"`auto\.offset\.reset` is `none`; write `earliest`, "):
        config.consumer_config({**BASE, "auto.offset.reset": "none"}, ignore)


def test_no_client_is_given_settings_of_another_kind(capfd: pytest.CaptureFixture[str]):
    """librdkafka warns on its standard error of each setting that it must ignore."""
    conf = {
        **BASE,
        "session.timeout.ms": 6000,
        "max.poll.interval.ms": 10_000,
        "partition.assignment.strategy": "cooperative-sticky",
        "auto.offset.reset": "earliest",
        "fetch.min.bytes": 1,
        "compression.type": "zstd",
        "linger.ms": 1,
        "security.protocol": "plaintext",
        "client.id": "me",
    }
    Consumer(config.consumer_config(conf, ignore)).close()
    Producer(config.producer_config(conf, ignore))
    AdminClient(config.admin_config(conf))
    assert "CONFWARN" not in capfd.readouterr().err


def test_both_error_callbacks_hear_an_error_and_neither_lets_an_exception_out():
    heard: list[str] = []

    def own(_error: KafkaError) -> None:
        heard.append("own")
        raise RuntimeError("not in here")

    callback = config.chain_error_callbacks(own, lambda _error: heard.append("wrapper"))
    callback(KafkaError(KafkaError._TRANSPORT))
    assert heard == ["wrapper", "own"]
