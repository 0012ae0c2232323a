"""Secrets stay out of what is printed."""

import pytest

from autolabel.cli import commands
from autolabel.config.compose import compose_config
from autolabel.errors import BadInput
from autolabel.redaction import has_password, redacted, redacted_override

SECRET = "AKIA-not-a-real-one"


def test_options_are_hidden_unless_known_to_be_harmless() -> None:
    settings = {
        "input": {"uri": "s3://a", "storage_options": {"key": SECRET, "endpoint_url": "http://x", "anon": False}},
        "output": {"storage_options": {"client_kwargs": {"aws_session_token": SECRET, "region_name": "eu"}}},
        "model": {"checkpoint": "a", "storage_options": {"list": [SECRET], "unheard_of": SECRET}},
        "prompts": {"categories": ["key", {"name": "token"}]},
        "secret": "not an option",
    }
    shown = redacted(settings)
    assert SECRET not in str(shown)
    assert shown["input"] == {
        "uri": "s3://a",
        "storage_options": {"key": "***", "endpoint_url": "http://x", "anon": False},
    }
    assert shown["output"]["storage_options"]["client_kwargs"] == {"aws_session_token": "***", "region_name": "eu"}
    assert shown["prompts"] == settings["prompts"]
    assert shown["secret"] == "not an option"
    assert SECRET in str(settings)  # a copy


@pytest.mark.parametrize(
    ("override", "shown"),
    [
        (f"input.storage_options.secret={SECRET}", "input.storage_options.secret=***"),
        (f"+output.storage_options.client_kwargs.token={SECRET}", "+output.storage_options.client_kwargs.token=***"),
        (f"output.storage_options={{key: {SECRET}}}", "output.storage_options=***"),
        ("input.storage_options.endpoint_url=http://x", "input.storage_options.endpoint_url=http://x"),
        ("input.uri=s3://a/b=c", "input.uri=s3://a/b=c"),
        ("prompts=[red car]", "prompts=[red car]"),
    ],
)
def test_overrides(override: str, shown: str) -> None:
    assert redacted_override(override) == shown


def test_the_printed_configuration_holds_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    overrides = [f"{name}.storage_options.secret={SECRET}" for name in ("input", "output", "model")]
    assert commands.main(["label", "--cfg", "job", "input.uri=photos", "prompts=[été]", *overrides]) == 0
    printed = capsys.readouterr().out
    assert printed.count("secret: '***'") == 3
    assert SECRET not in printed
    assert "uri: photos" in printed
    assert "été" in printed


def test_a_wrong_override_beside_cfg_is_still_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["label", "--cfg", "job", "inptu.uri=x"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "inptu" in captured.err


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("https://user:pass@host/x", True),
        ("sftp://user:@host/x", True),
        ("https://user@host/x", False),
        ("s3://bucket/a:b@c", False),
        ("photos/a:b@c.jpg", False),
        ("http://[bad", False),
    ],
)
def test_passwords_in_urls(uri: str, expected: bool) -> None:
    assert has_password(uri) == expected


def test_urls_with_passwords_are_refused_without_repeating_them() -> None:
    url = f"https://user:{SECRET}@host/x"
    keys = ("input.uri", "input.image_root", "output.uri", "prompts.uri", "exemplars.uri", "model.checkpoint")
    with pytest.raises(BadInput) as raised:
        compose_config("label", ["prompts=none", *(f"{key}='{url}'" for key in keys)])
    told = [problem for problem in raised.value.problems if "password" in problem]
    assert sorted(problem.split(":")[0] for problem in told) == sorted(keys)
    assert SECRET not in str(raised.value)
    with pytest.raises(BadInput, match=r"output\.uri: holds a password"):
        compose_config("verify", [f"output.uri='{url}'"])
