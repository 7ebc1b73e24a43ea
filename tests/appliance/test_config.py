"""The configuration: sources and their order, every mistake told, pages made from the code."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import config, config_text
from appliance.config import Config, ConfigError, Loaded, load


def problems(text: str = "", environ: dict[str, str] | None = None, **flags: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text, environ=environ or {}, flags=flags)
    return [str(problem) for problem in caught.value.problems]


def test_without_any_source_everything_is_at_its_default() -> None:
    loaded = load("", environ={})
    assert loaded.config == Config()
    assert set(loaded.sources.values()) == {"default"}


def test_flags_go_before_the_environment_the_environment_before_the_file() -> None:
    text = "[listen]\nport = 1\nhost = 'a'\nnames = ['n']\n[log]\nlevel = 'error'\n"
    environ = {"STRONGROOM_LISTEN_PORT": "2", "STRONGROOM_LISTEN_HOST": "b"}
    loaded = load(text, environ=environ, flags={"listen.port": 3, "listen.host": None})
    assert loaded.config.listen == config.ListenSection(host="b", port=3, names=("n",))
    sources = loaded.sources
    named = ("listen.port", "listen.host", "listen.names", "log.level", "log.format")
    told = [sources[name] for name in named]
    assert told == ["flag", "environment", "file", "file", "default"]


def test_the_environment_takes_lists_with_commas_numbers_and_yes_or_no() -> None:
    environ = {
        "STRONGROOM_LISTEN_NAMES": "a.example, 10.0.0.5",
        "STRONGROOM_QUIC_ENABLED": "false",
        "STRONGROOM_LIMITS_SENDS_PER_SECOND": "2.5",
        "STRONGROOM_DATA": "/elsewhere",
        "PATH": "/bin",
    }
    found = load("", environ=environ).config
    assert found.listen.names == ("a.example", "10.0.0.5")
    assert found.quic.enabled is False
    assert found.limits.sends_per_second == 2.5


def test_every_mistake_is_told_at_once_with_what_was_meant() -> None:
    text = "[listn]\nx=1\n[listen]\nprot = 1\nport = 99999\nhost = 3\nunauthenticated = 4\n"
    told = "\n".join(problems(text, {"STRONGROOM_LISTEN_PROT": "1"}))
    assert "listn: unknown section (did you mean listen?)" in told
    assert "listen.prot: unknown setting (did you mean listen.port?)" in told
    assert "listen.unauthenticated: unknown setting (did you mean limits.unauthenticated?)" in told
    assert "STRONGROOM_LISTEN_PROT: unknown setting (did you mean STRONGROOM_LISTEN_PORT?)" in told
    assert "listen.port: " in told
    assert "listen.host: Expected `str`, got `int`" in told


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[tls]\ncertificate = 'a.pem'\n", "tls.key"),
        ("[tls]\nkey = 'a.pem'\n", "tls.certificate"),
        ("[keys]\nwrap = 'credential'\n", "keys.credential_file"),
        ("[metrics]\nlisten = '0.0.0.0:1'\n", "metrics.listen"),
        ("[metrics]\nlisten = 'nonsense'\n", "metrics.listen"),
        ("[listen]\norigins = ['http://a.example']\n", "listen.origins"),
        ("[listen]\norigins = ['https://a.example/path']\n", "listen.origins"),
        ("listen = 1\n", "listen"),
        ("[listen\n", "strongroom.toml"),
    ],
)
def test_what_cannot_be_is_told_by_its_name(text: str, where: str) -> None:
    assert [problem.partition(":")[0] for problem in problems(text)] == [where]


def test_what_goes_together_is_accepted() -> None:
    text = (
        "[tls]\ncertificate = 'a'\nkey = 'b'\n[metrics]\nlisten = '[::1]:9464'\n"
        "[listen]\norigins = ['https://a.example']\n"
    )
    assert load(text, environ={}).config.metrics.listen == "[::1]:9464"


def test_a_missing_file_counts_as_empty_and_a_bad_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "strongroom.toml"
    assert config.load_file(path, environ={}).config == Config()
    for content in (b"\xff", b"#" * (config.FILE_BYTES + 1)):
        path.write_bytes(content)
        with pytest.raises(ConfigError):
            config.load_file(path, environ={})
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load_file(path, environ={})


def test_the_example_is_the_defaults_in_comments() -> None:
    text = config_text.example()
    assert load(text, environ={}).config == Config()
    uncommented = "\n".join(
        line.removeprefix("# ") if " = " in line and line.startswith("# ") else line
        for line in text.splitlines()
    )
    assert load(uncommented, environ={}).config == Config()
    told = tomllib.loads(uncommented)
    names = {f"{section}.{key}" for section, keys in told.items() for key in keys}
    assert names == set(config.SETTINGS)


def test_every_setting_says_what_it_is_for() -> None:
    for setting in config.settings():
        assert setting.description.endswith((".", ").")), setting.name
        assert setting.bounds, setting.name


texts = st.text(st.characters(codec="utf-8"), max_size=20)


@given(texts, st.lists(texts, max_size=3), st.integers(0, 65_535), st.booleans())
def test_a_rendered_file_is_read_back_as_it_was(
    name: str, hosts: list[str], port: int, enabled: bool
) -> None:
    values = {
        "site.name": name,
        "listen.names": tuple(hosts),
        "listen.port": port,
        "quic.enabled": enabled,
    }
    loaded = load(config_text.render(values), environ={})
    assert _chosen(loaded) == values
    assert {loaded.sources[key] for key in values} == {"file"}


def _chosen(loaded: Loaded) -> dict[str, Any]:
    return {setting.name: value for setting, value, source in loaded.rows() if source == "file"}


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        load(text, environ={})
    except ConfigError as error:
        assert error.problems  # noqa: PT017 (either outcome is right)


def value_of(setting: config.Setting) -> st.SearchStrategy[Any]:
    """Draw any value that a setting's type allows."""
    base, meta = get_args(setting.type)
    if get_origin(base) is Literal:
        return st.sampled_from(get_args(base))
    if base is bool:
        return st.booleans()
    if base is int:
        return st.integers(meta.ge, meta.le)
    if base is float:
        return st.floats(meta.gt, meta.le, exclude_min=True)
    if base is str:
        return st.text(st.characters(codec="utf-8"), min_size=meta.min_length or 0, max_size=20)
    return st.lists(texts, max_size=3).map(tuple)


TREES = st.fixed_dictionaries({}, optional={n: value_of(s) for n, s in config.SETTINGS.items()})


@given(TREES)
def test_any_tree_goes_through_toml_unchanged_or_its_contradictions_are_told(
    values: dict[str, Any],
) -> None:
    text = config_text.render(values)
    tree = config.build(values)
    contradictions = config.contradictions(tree)
    if contradictions:
        with pytest.raises(ConfigError) as caught:
            load(text, environ={})
        assert caught.value.problems == tuple(contradictions)
    else:
        loaded = load(text, environ={})
        assert loaded.config == tree
        assert _chosen(loaded) == values


def as_variables(values: dict[str, Any]) -> dict[str, str]:
    """Return values as the environment has them; without lists whose items a comma would split."""
    texts = {
        name: ",".join(value) if isinstance(value, tuple) else str(value)
        for name, value in values.items()
        if not isinstance(value, tuple) or all(re.fullmatch(r"\w+", each) for each in value)
    }
    return {config.SETTINGS[name].variable: text for name, text in texts.items()}


@given(TREES, TREES, TREES)
def test_each_setting_comes_from_the_first_source_that_has_it(
    file: dict[str, Any], variables: dict[str, Any], flags: dict[str, Any]
) -> None:
    environ = as_variables(variables)
    told = {name: variables[name] for name in variables if variable(name) in environ}
    chosen = {**file, **told, **flags}
    if config.contradictions(config.build(chosen)):
        return
    loaded = load(config_text.render(file), environ=environ, flags=flags)
    assert loaded.config == config.build(chosen)
    for name, source in loaded.sources.items():
        sources = {"flag": flags, "environment": told, "file": file, "default": config.SETTINGS}
        assert source == next(each for each, having in sources.items() if name in having)


def variable(name: str) -> str:
    return config.SETTINGS[name].variable


@given(st.sampled_from(sorted(config.SETTINGS)), st.data())
def test_a_letter_too_many_or_too_few_is_refused_with_the_right_name(
    name: str, data: st.DataObject
) -> None:
    section, _, key = name.partition(".")
    at = data.draw(st.integers(0, len(key) - 1))
    wrong = data.draw(st.sampled_from([key[:at] + "x" + key[at:], key[:at] + key[at + 1 :]]))
    if not wrong or f"{section}.{wrong}" in config.SETTINGS:
        return
    (told,) = problems(f"[{section}]\n{wrong} = 1\n")
    assert told.startswith(f"{section}.{wrong}: unknown setting")
    if len(key) > 3:
        assert "did you mean" in told


def test_the_json_schema_says_what_the_reader_takes() -> None:
    schema = json.loads(json.dumps(config_text.json_schema()))
    definitions = schema["$defs"]
    told = definitions["Config"]["properties"]
    assert set(told) == set(config.section_types())
    assert schema["$ref"] == "#/$defs/Config"
    for section, kind in config.section_types().items():
        definition = definitions[kind.__name__]
        assert told[section]["$ref"] == f"#/$defs/{kind.__name__}"
        assert definition["additionalProperties"] is False
        assert set(definition["properties"]) == set(kind.__struct_fields__)
    for setting in config.settings():
        entry = definitions[config.section_types()[setting.section].__name__]["properties"]
        found = entry[setting.key]
        default = list(setting.default) if isinstance(setting.default, tuple) else setting.default
        assert found["description"] == setting.description
        assert found["default"] == default
    assert definitions["ListenSection"]["properties"]["port"]["maximum"] == 65_535


def test_the_effective_configuration_is_plain() -> None:
    plain = config_text.effective(Config())
    assert msgspec.convert(plain, type=Config) == Config()


def test_the_key_directory_is_beside_the_data_unless_told_otherwise() -> None:
    data = Path("/srv/data")
    assert config.key_directory(Config(), data) == Path("/srv/data-keys")
    for configured, expected in (("/mnt/keys", "/mnt/keys"), ("../keys", "/srv/keys")):
        keys = config.KeysSection(directory=configured)
        assert config.key_directory(Config(keys=keys), data) == Path(expected)


def test_a_plain_name_is_a_systemd_credential_when_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "wrap").write_bytes(b"x")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    data = Path("/srv/data")
    assert config.secret_path("wrap", data, environ) == tmp_path / "wrap"
    assert config.secret_path("other", data, environ) == data / "other"
    assert config.secret_path("/a/b", data, environ) == Path("/a/b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1:8443", ("127.0.0.1", 8443)), ("[::1]:1", ("::1", 1)), ("host:0", ("host", 0))],
)
def test_an_address_is_split(text: str, expected: tuple[str, int]) -> None:
    assert config.split_address(text) == expected


@pytest.mark.parametrize("text", ["", "host", ":1", "host:", "host:x", "host:65536", "host:-1"])
def test_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"(address|port) is"):
        config.split_address(text)
