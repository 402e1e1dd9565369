"""The server as others see it: what it refuses, how it starts, how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from studio.pocket import SAMPLES
from tests.browser.app import ROOT, App, free_port, running, start


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    home = tmp_path_factory.mktemp("home")
    folder = home / "datasets" / "mine"
    folder.mkdir(parents=True)
    (folder / "airplane.png").write_bytes((SAMPLES / "gameboy" / "airplane.png").read_bytes())
    (folder / "out.png").symlink_to(ROOT / "studio" / "pocket" / "before-after.png")
    (folder / "secret.txt").write_text("secret")
    run = home / "runs" / "EXP-20260101-01"
    (run / "logs").mkdir(parents=True)
    (run / "config.yaml").write_text("base_model: pocket\ntrain_data_dir: .\n")
    (run / "state.json").write_text(json.dumps({"id": run.name, "status": "stopped"}))
    (run / "link.txt").symlink_to("/etc/hostname")
    with running(home) as opened:
        yield opened


def get(app: App, path: str, **headers: str) -> httpx.Response:
    return httpx.get(app.url + path, headers=headers, timeout=20)


def test_it_says_that_it_is_well(app: App):
    assert get(app, "/health").text == "ok"


def test_the_page_allows_no_foreign_host(app: App):
    answer = get(app, "/")
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=README.md",
        "/gradio_api/file%3D/etc/passwd",
        "/file=/etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1:1/",
        "/static/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/assets/../../../../etc/passwd",
        "/gradio_api/deep_link",
        "/studio/dataset/mine/secret.txt",
        "/studio/dataset/mine/out.png",
        "/studio/dataset/mine/..%2f..%2fruns%2fEXP-20260101-01%2fstate.json",
        "/studio/dataset/..%2fruns/EXP-20260101-01/state.json",
        "/studio/runs/EXP-20260101-01/link.txt",
        "/studio/runs/EXP-20260101-01/..%2f..%2f..%2fserver.log",
        "/studio/runs/EXP-20260101-01//etc/passwd",
        "/studio/train/EXP-20260101-01/1/1.png",
        "/studio/compare/..%2f..%2fx/sheet.png",
        "/studio/compare/kept/EXP-20260101-01/1.png",
        "/tensorboard/..%2f..%2fetc%2fpasswd",
    ],
)
def test_no_route_leads_to_a_file_that_isnt_shown(app: App, path: str):
    answer = get(app, path)
    assert answer.status_code in (400, 401, 403, 404), (path, answer.status_code)
    assert "root:" not in answer.text
    assert "secret" not in answer.text


def test_what_is_shown_is_there(app: App):
    assert get(app, "/studio/dataset/mine/airplane.png").headers["content-type"] == "image/webp"
    assert get(app, "/studio/dataset/mine/airplane.png?whole").headers["content-type"] == "image/png"
    assert "pocket" in get(app, "/studio/runs/EXP-20260101-01/config.yaml?text").text


@pytest.mark.parametrize("path", ["/gradio_api/component_server/", "/gradio_api/upload", "/gradio_api/queue/join", "/tensorboard/data"])
def test_another_sites_page_can_send_nothing(app: App, path: str):
    for headers in ({"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        assert httpx.post(app.url + path, headers={"content-type": "text/plain", **headers}, content=b"{}").status_code == 403
    assert httpx.post(app.url + path, headers={"origin": app.url}, content=b"{}").status_code != 403


def test_another_name_for_this_machine_is_not_answered(app: App):
    assert get(app, "/health", host="evil.example").status_code == 400


def test_with_a_login_nothing_of_ours_is_open_without_it(tmp_path: Path):
    with running(tmp_path, STUDIO_AUTH="anna:secret") as app:
        for path in (
            "/studio/dataset/a/b.png",
            "/studio/runs/a/b",
            "/studio/train/a/1/1.png",
            "/studio/compare/a/sheet.png",
            "/tensorboard/",
            "/config",
        ):
            assert get(app, path).status_code == 401, path
        assert httpx.post(app.url + "/gradio_api/component_server/", json={}).status_code == 401
        with httpx.Client(base_url=app.url) as client:
            assert client.post("/login", data={"username": "anna", "password": "wrong"}).status_code == 400
            assert client.post("/login", data={"username": "anna", "password": "secret"}).status_code == 200
            assert client.get("/studio/runs/a/b").status_code == 404  # let in, and there is no such run


def test_after_five_wrong_passwords_no_more_are_heard(tmp_path: Path):
    with running(tmp_path, STUDIO_AUTH="anna:secret") as app, httpx.Client(base_url=app.url) as client:
        tries = [client.post("/login", data={"username": "anna", "password": str(number)}).status_code for number in range(7)]
        assert tries == [400] * 5 + [429] * 2
        assert client.post("/login", data={"username": "anna", "password": "secret"}).status_code == 429


def test_a_file_beyond_the_limit_is_refused_and_one_that_breaks_off_leaves_nothing(tmp_path: Path):
    with running(tmp_path, SPACE_ID="anna/studio") as app:
        large = b"x" * (51 * 1024**2)
        assert httpx.post(f"{app.url}/gradio_api/upload", files={"files": ("a.png", large)}, timeout=60).status_code == 413
        host = app.url.split("/")[2]
        head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        part = '--b\r\nContent-Disposition: form-data; name="files"; filename="b.png"\r\n\r\n'
        with socket.create_connection(("127.0.0.1", int(host.split(":")[1]))) as line:
            line.sendall(f"{head}Content-Length: {20 * 1024**2}\r\n\r\n{part}".encode() + large[: 8 * 1024**2])
        time.sleep(2)  # until it has noticed
        left = [path for path in tmp_path.rglob("tmp*") if path.is_file()]
        for path in left:
            os.utime(path, (1, 1))
        assert httpx.post(f"{app.url}/gradio_api/upload", files={"files": ("c.png", b"c")}).status_code == 200
        assert [path for path in left if path.exists()] == []
        assert get(app, "/health").text == "ok"


def test_secrets_reach_no_page_and_no_file(tmp_path: Path):
    with running(tmp_path, HF_TOKEN="hf_planted", STUDIO_AUTH="anna:planted") as app, httpx.Client(base_url=app.url) as client:
        client.post("/login", data={"username": "anna", "password": "planted"})
        pages = [client.get(path).text for path in ("/", "/config", "/gradio_api/info", "/health")]
    assert [page for page in pages if "planted" in page] == []
    assert [path for path in tmp_path.rglob("*") if path.is_file() and b"planted" in path.read_bytes()] == []


def answer(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    surroundings = {"STUDIO_HOME": str(home), "STUDIO_LANGUAGE": "en", "PATH": "/usr/bin:/bin"}
    return subprocess.run([sys.executable, str(ROOT / "studio.py"), *words], env=surroundings, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("words", "sentence"), [(("--host", "0.0.0.0"), "no login"), (("--share",), "no login"), (("--auth", "anna"), "USER:PASSWORD")]
)
def test_a_public_address_needs_a_login(tmp_path: Path, words: tuple[str, ...], sentence: str):
    done = answer(tmp_path, *words)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_said(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = answer(tmp_path, "--port", str(taken.getsockname()[1]))
    assert done.returncode == 3
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_heavy_is_open_before_a_page_is_asked_for(tmp_path: Path):
    code = (
        "import sys; sys.argv = ['studio.py']; from studio.ui import opening; from studio.ui import app; app.open_page(app.Address()); "
        "print([name for name in ('torch', 'diffusers', 'transformers', 'peft', 'matplotlib', 'tensorboard') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"STUDIO_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_lets_the_run_save_first(tmp_path: Path, how: signal.Signals):
    run = tmp_path / "runs" / "EXP-20260101-01"
    run.mkdir(parents=True)
    settings = {"base_model": "pocket", "train_data_dir": str(SAMPLES / "gameboy"), "max_steps": 5000, "threads": 1, "validation_steps": 0}
    (run / "config.yaml").write_text(json.dumps(settings))
    (run / "state.json").write_text(json.dumps({"id": run.name, "status": "queued"}))
    app = start(tmp_path, port=free_port())
    until = time.monotonic() + 90
    while '"event": "steps"' not in (run / "events.jsonl").read_text() if (run / "events.jsonl").exists() else True:
        assert time.monotonic() < until
        assert app.process.poll() is None
        time.sleep(0.1)
    assert app.end(how) == 0
    assert json.loads((run / "state.json").read_text())["status"] == "stopped"
    assert any((run / "checkpoints").glob("step-*"))
    told = (tmp_path / "server.log").read_text()
    assert "saves and stops" in told
    assert "Saved." in told
    assert "Traceback" not in told
