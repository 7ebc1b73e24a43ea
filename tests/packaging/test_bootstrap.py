"""The first step on a bare machine: pip's settings are honoured and nothing unlocked is run."""

import base64
import hashlib
import http.server
import importlib.util
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
WHEEL = b"a wheel, or as good as one"
DIGEST = hashlib.sha256(WHEEL).hexdigest()
NAME = "pip-26.3-py3-none-any.whl"
LOGIN = "Basic " + base64.b64encode(b"ward:p@ss").decode()


@pytest.fixture(scope="module")
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "packaging" / "bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Index(http.server.BaseHTTPRequestHandler):
    """A package index: JSON under /json, HTML under /html, HTML behind a login under /closed."""

    def do_GET(self) -> None:
        closed = self.path.startswith("/closed/")
        if closed and self.headers.get("Authorization") != LOGIN:
            self.send_error(401)
        elif self.path.endswith(NAME):
            self._send("application/octet-stream", WHEEL)
        elif self.path == "/json/pip/":
            page = {"files": [{"url": "../../files/pip-1.whl"}, {"url": f"../../files/{NAME}"}]}
            self._send("application/vnd.pypi.simple.v1+json", json.dumps(page).encode())
        elif self.path in ("/html/pip/", "/closed/pip/"):
            self._send("text/html", f'<a href="{NAME}#sha256=00">pip</a><a>none</a>'.encode())
        elif self.path == "/broken/pip/":
            self._send("application/json", b'{"files": 3}')
        else:
            self.send_error(404)

    def _send(self, kind: str, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def index() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_lock_file_pins_pip(bootstrap: ModuleType) -> None:
    text = (ROOT / "requirements" / "bootstrap.txt").read_text("utf-8")
    pin = bootstrap.read_pin(text, "pip")
    assert f"pip=={pin.version} " in text
    assert {len(digest) for digest in pin.sha256} == {64}


def test_a_pin_holds_the_hashes_of_its_own_package_only(bootstrap: ModuleType) -> None:
    text = "a==1 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\nb==2 \\\n    --hash=sha256:cc\n"
    assert bootstrap.read_pin(text, "a") == ("1", {"aa", "bb"})
    assert bootstrap.read_pin(text, "b") == ("2", {"cc"})
    with pytest.raises(bootstrap.BootstrapError, match="make lock"):
        bootstrap.read_pin(text, "c")


@pytest.mark.parametrize("page", ["json", "html"])
def test_the_locked_wheel_is_found_on_an_index(
    bootstrap: ModuleType, index: str, page: str
) -> None:
    pin = bootstrap.Pin("26.3", frozenset({DIGEST}))
    assert bootstrap.find_pip(pin, {"index-url": f"http://{index}/{page}/"}) == WHEEL


def test_a_login_in_the_address_of_the_index_is_used_and_never_shown(
    bootstrap: ModuleType, index: str
) -> None:
    pin = bootstrap.Pin("26.3", frozenset({DIGEST}))
    settings = {"index-url": f"http://ward:p%40ss@{index}/closed"}
    assert bootstrap.find_pip(pin, settings) == WHEEL
    with pytest.raises(bootstrap.BootstrapError, match="HTTP 401") as caught:
        bootstrap.find_pip(pin, {"index-url": f"http://ward:secret@{index}/closed"})
    assert "secret" not in str(caught.value)


def test_a_folder_of_wheels_comes_before_the_index(bootstrap: ModuleType, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(WHEEL)
    pin = bootstrap.Pin("26.3", frozenset({DIGEST}))
    assert bootstrap.find_pip(pin, {"find-links": str(tmp_path), "no-index": "1"}) == WHEEL


def test_a_wheel_that_is_not_the_locked_one_is_refused(
    bootstrap: ModuleType, index: str, tmp_path: Path
) -> None:
    (tmp_path / NAME).write_bytes(b"another")
    pin = bootstrap.Pin("26.3", frozenset({"00" * 32}))
    settings = {"find-links": str(tmp_path), "index-url": f"http://{index}/json"}
    with pytest.raises(bootstrap.BootstrapError) as caught:
        bootstrap.find_pip(pin, settings)
    assert str(caught.value).count("is not the locked one") == 2


@pytest.mark.parametrize("page", ["absent", "broken"])
def test_an_index_without_pip_says_so(bootstrap: ModuleType, index: str, page: str) -> None:
    pin = bootstrap.Pin("26.3", frozenset({DIGEST}))
    with pytest.raises(bootstrap.BootstrapError, match=f"http://{index}/{page}/pip/"):
        bootstrap.find_pip(pin, {"index-url": f"http://{index}/{page}"})


def test_no_source_at_all_is_an_error_of_its_own(bootstrap: ModuleType) -> None:
    pin = bootstrap.Pin("26.3", frozenset({DIGEST}))
    with pytest.raises(bootstrap.BootstrapError, match="no package index"):
        bootstrap.find_pip(pin, {"no-index": "true"})


def test_settings_of_the_environment_win_over_files(bootstrap: ModuleType, tmp_path: Path) -> None:
    shared, own = tmp_path / "pip.conf", tmp_path / "own.conf"
    shared.write_text("[global]\nindex-url = http://a/\ncert = /a.pem\nproxy = a:1\n")
    own.write_text("[install]\nindex_url = http://b/\n[global]\ncert = /b.pem\n")
    files = [shared, own, tmp_path / "absent.conf"]
    assert bootstrap.read_settings(files, {"PIP_CERT": "/c.pem", "PIP_PROXY": ""}) == {
        "index-url": "http://b/",
        "cert": "/c.pem",
        "proxy": "a:1",
    }


def test_a_broken_settings_file_is_named_and_ignored(
    bootstrap: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pip.conf"
    path.write_text("no section")
    assert bootstrap.read_settings([path], {}) == {}
    assert str(path) in capsys.readouterr().err


def test_an_own_settings_file_is_read_last_and_dev_null_reads_none(bootstrap: ModuleType) -> None:
    files = bootstrap.config_files({"HOME": "/h", "PIP_CONFIG_FILE": "/own"})
    assert files[-2:] == [Path("/h/.config/pip/pip.conf"), Path("/own")]
    assert bootstrap.config_files({"HOME": "/h", "PIP_CONFIG_FILE": "/dev/null"}) == []
