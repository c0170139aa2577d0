"""What a server refuses, and in which words."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from serving import SETTINGS, TOKEN, Serving, free_port, serving

from KLIPCore.client.connection import PROTOCOL, Connection, Server
from KLIPCore.client.detector import Request
from KLIPCore.client.remote import RemoteDetector
from KLIPCore.errors import ConfigError, KlipError, OutputError, ServerError
from KLIPCore.server.gate import Rate
from KLIPCore.server.refusal import Refusal
from KLIPCore.server.serve import serve
from KLIPCore.server.settings import ServerSettings
from KLIPCore.server.token import token_of


@pytest.fixture(scope="module")
def guarded(prior: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server under the rules of a network."""
    folder = tmp_path_factory.mktemp("guarded")
    with serving(folder, prior, TOKEN, host="0.0.0.0", requests_per_minute=100_000) as served:
        yield served


@pytest.fixture(scope="module")
def opened(prior: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server under the rules of loopback."""
    with serving(tmp_path_factory.mktemp("open"), prior, max_jobs=3) as served:
        yield served


def test_none_of_200_requests_without_the_token_gets_past(guarded: Serving) -> None:
    draw = random.Random(0)
    job = "0" * 32
    addresses = [
        ("GET", "/healthz"), ("GET", "/version"), ("POST", "/v1/jobs"), ("GET", f"/v1/jobs/{job}"),
        ("PUT", f"/v1/jobs/{job}/files/a.dcm"), ("GET", f"/v1/jobs/{job}/events"), ("GET", f"/v1/jobs/{job}/files"),
        ("GET", f"/v1/jobs/{job}/files/run.json"), ("DELETE", f"/v1/jobs/{job}"), ("GET", "/openapi.json"),
        ("GET", "/nowhere"), ("OPTIONS", "/v1/jobs"),
    ]  # fmt: skip
    wrong = [
        None, "", "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"bearer x{TOKEN}",
        f"Token {TOKEN}", f"Bearer {TOKEN.upper()}", TOKEN, "Basic !!!", "Bearer \xe9",
        "Basic " + base64.b64encode(f"{TOKEN}:".encode()).decode(),
        "Basic " + base64.b64encode(b"user:wrong").decode(),
    ]  # fmt: skip
    past = 0
    for _ in range(200):
        method, path = draw.choice(addresses)
        shown = draw.choice(wrong)
        headers = {} if shown is None else {"Authorization": shown}
        status, _, body = guarded.ask(method, path, b"{}" if method in ("POST", "PUT") else None, headers)
        past += status != 401
        told = json.loads(body)
        assert told["remedy"]
        assert TOKEN not in body.decode()
    assert past == 0
    assert guarded.job_folders == []
    for right in (f"Bearer {TOKEN}", "Basic " + base64.b64encode(f"anybody:{TOKEN}".encode()).decode()):
        assert guarded.ask("GET", "/healthz", headers={"Authorization": right})[0] == 200


def test_a_wrong_token_is_a_sentence_for_the_client(guarded: Serving) -> None:
    with pytest.raises(ServerError, match="wants a token") as caught:
        RemoteDetector(guarded.server()).handshake()
    assert "--token-file" in caught.value.remedy
    with pytest.raises(ServerError, match="does not accept this token"):
        RemoteDetector(guarded.server("another-token-of-the-right-length")).handshake()
    assert "they fit" in RemoteDetector(guarded.server(TOKEN)).handshake()


def test_ten_gigabytes_are_refused_before_a_byte_is_stored(opened: Serving) -> None:
    file = {"name": "volume.nrrd", "size": 10_000_000_000, "sha256": "1" * 64}
    status, told = opened.claim(files=[file], entry="volume.nrrd")
    assert status == 413
    assert "10.0 GB" in told["message"]
    many = [{"name": f"f{n}.dcm", "size": 1_000_000, "sha256": f"{n:064x}"} for n in range(5000)]
    assert opened.claim(files=many)[0] == 413
    assert opened.job_folders == []


@pytest.mark.parametrize(
    "name",
    ["../x.dcm", "/etc/x.dcm", "a/b.dcm", "..", ".hidden.dcm", "C:x.dcm", "a\\b.dcm", "con.dcm", "LPT1.nii", "a b.dcm",
     "x.zip", "x.exe", "x", "x.dcm\n", "x.dcm\0", "é.dcm", "x" * 130 + ".dcm", "~x.dcm", "x..dcm", "-rf.dcm"],
)  # fmt: skip
def test_names_that_could_lead_elsewhere_are_refused(opened: Serving, name: str) -> None:
    status, told = opened.claim(files=[{"name": name, "size": 5, "sha256": "1" * 64}])
    assert status == 422
    assert told["remedy"]
    assert opened.job_folders == []


@pytest.mark.parametrize(
    ("changes", "status", "word"),
    [
        ({"settings": {"preset": "huge"}}, 422, "preset"),
        ({"settings": SETTINGS | {"prior": "/etc/passwd"}}, 422, "no prior"),
        ({"settings": SETTINGS | {"sampling": {"n_steps": 10**9}}}, 422, "number of steps"),
        ({"settings": SETTINGS | {"sampling": "all"}}, 422, "section 'sampling'"),
        ({"settings": SETTINGS | {"frobnicate": 1}}, 422, "frobnicate"),
        ({"slices": "a:b"}, 422, "not a range of slices"),
        ({"roi": "1"}, 422, ""),
        ({"holder": "../x"}, 422, "holder"),
        ({"files": []}, 422, "files"),
        ({"more": 1}, 422, "more"),
        ({"entry": "nobody.dcm"}, 422, "stands for"),
        ({"files": [{"name": "a.dcm", "size": 5, "sha256": "0" * 64}] * 2}, 422, "same name"),
        ({"files": [{"name": "a.dcm", "size": -5, "sha256": "0" * 64}]}, 422, "size"),
    ],
)
def test_claims_that_make_no_sense_are_sentences(opened: Serving, changes: dict, status: int, word: str) -> None:
    found, told = opened.claim(**changes)
    assert found == status
    assert word in told["message"]
    assert told["remedy"]
    assert opened.job_folders == []


def test_pieces_that_do_not_fit_and_files_that_arrive_damaged(opened: Serving) -> None:
    _, told = opened.claim(files=[{"name": "a.dcm", "size": 5, "sha256": "2" * 64}])
    job = told["id"]
    address = f"/v1/jobs/{job}/files/a.dcm"
    try:
        assert told["missing"] == {"a.dcm": 0}
        assert opened.claim(files=[{"name": "a.dcm", "size": 5, "sha256": "2" * 64}])[1]["id"] == job
        assert opened.ask("PUT", address, b"ab", {"Upload-Offset": "0"})[2] == b'{"offset":2,"complete":false}'
        status, _, body = opened.ask("PUT", address, b"ab", {"Upload-Offset": "0"})
        assert (status, json.loads(body)["offset"]) == (409, 2)
        assert opened.ask("PUT", address, b"cdefg", {"Upload-Offset": "2"})[0] == 413
        status, _, body = opened.ask("PUT", address, b"cde", {"Upload-Offset": "2"})
        assert (status, json.loads(body)["damaged"], json.loads(body)["offset"]) == (409, True, 0)
        for other in ("b.dcm", "..%2Fjob.json", "%2e%2e"):
            assert opened.ask("PUT", f"/v1/jobs/{job}/files/{other}", b"x", {"Upload-Offset": "0"})[0] in (404, 405)
        assert sorted(p.name for p in (opened.folder / "jobs" / job).rglob("*")) == ["job.json", "study"]
    finally:
        opened.ask("DELETE", f"/v1/jobs/{job}?holder={'a' * 32}")
    assert opened.job_folders == []
    assert opened.ask("GET", f"/v1/jobs/{job}")[0] == 404


def test_a_full_server_and_a_full_disk(prior: Path, tmp_path: Path, opened: Serving) -> None:
    jobs = [opened.claim(files=[{"name": "a.dcm", "size": 5, "sha256": f"{n:064x}"}]) for n in range(4)]
    assert [status for status, _ in jobs] == [200, 200, 200, 503]
    assert "The server is full" in jobs[3][1]["message"]
    for _, told in jobs[:3]:
        opened.ask("DELETE", f"/v1/jobs/{told['id']}?holder={'a' * 32}")
    assert opened.job_folders == []
    with serving(tmp_path / "full", prior, max_upload_gb=1e6) as served:
        huge = {"name": "a.dcm", "size": 10**14, "sha256": "1" * 64}
        status, told = served.claim(files=[huge])
        assert (status, served.job_folders) == (507, [])
        assert "no space" in told["message"]


def test_pages_of_other_sites_may_not_use_it(opened: Serving) -> None:
    own = f"http://127.0.0.1:{opened.port}"
    assert opened.ask("GET", "/version", headers={"Origin": own})[0] == 200
    assert opened.ask("GET", "/version", headers={"Origin": "http://evil.example"})[0] == 403
    assert opened.ask("GET", "/version", headers={"Host": "evil.example"})[0] == 403  # a name that points here
    assert opened.ask("POST", "/v1/jobs", b"{}", {"Content-Type": "text/plain"})[0] == 415


def test_which_side_to_update(opened: Serving, monkeypatch: pytest.MonkeyPatch, study: Path, tmp_path: Path) -> None:
    for protocol, words in ((PROTOCOL - 1, "Update the client"), (PROTOCOL + 1, "Update the server")):
        monkeypatch.setattr("KLIPCore.client.remote.PROTOCOL", protocol)
        with pytest.raises(ServerError, match=f"protocol {protocol}") as caught:
            RemoteDetector(opened.server()).start(Request(study, tmp_path / "out", SETTINGS))
        assert caught.value.remedy.startswith(words)
        status, _, body = opened.ask("POST", "/v1/jobs", b"{}", {"X-KLIP-Protocol": str(protocol)})
        assert status == 426
        assert json.loads(body)["remedy"].startswith(words)


def test_a_server_that_is_gone_and_one_that_is_something_else(prior: Path, tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="has not answered") as caught:
        RemoteDetector(Server(f"http://127.0.0.1:{free_port()}", patience_s=0.2)).handshake()
    assert "continues where this one stopped" in caught.value.remedy


def test_the_rate_of_one_address_has_an_end_and_fills_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("KLIPCore.server.gate.time.monotonic", lambda: now[0])
    rate = Rate(60)
    for _ in range(60):
        rate.check("a")
    with pytest.raises(Refusal, match="Too many requests"):
        rate.check("a")
    rate.check("b")
    now[0] = 0.6
    with pytest.raises(Refusal):  # which does not begin the wait anew
        rate.check("a")
    now[0] = 1.01
    rate.check("a")
    with pytest.raises(Refusal):
        rate.check("a")


def test_a_client_waits_where_it_is_told_to(prior: Path, tmp_path: Path) -> None:
    with serving(tmp_path, prior, requests_per_minute=60) as served:
        with closing(Connection(served.server(patience_s=20))) as connection:
            answers = [connection.ask("GET", "/healthz") for _ in range(61)]
        assert [answer["status"] for answer in answers] == [200] * 61


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://gpu.example:8443", "unencrypted"),
        ("gpu.example", "no address"),
        ("https://user:secret@gpu.example", "no secrets"),
        ("https://gpu.example/klip", "no address"),
        ("https://gpu.example:port", "no address"),
    ],
)
def test_addresses_that_are_refused(url: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        Server(url)


def test_no_network_is_served_without_tls_or_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KLIP_TOKEN", raising=False)
    network = ServerSettings(host="0.0.0.0", port=0, folder=str(tmp_path / "state"))
    with pytest.raises(ConfigError, match="unencrypted"):
        serve(network)
    (tmp_path / "file").write_text("x")
    blocked = ServerSettings(host="0.0.0.0", port=0, folder=str(tmp_path / "file" / "state"))
    with pytest.raises(OutputError, match="without a token no network is served"):
        serve(blocked, plain_http=True)
    (tmp_path / "short").write_text("secret\n")
    for variable, file in (("short", None), (None, str(tmp_path / "short"))):
        if variable:
            monkeypatch.setenv("KLIP_TOKEN", variable)
        with pytest.raises(ConfigError, match="no token"):
            serve(ServerSettings(host="0.0.0.0", port=0, token_file=file), plain_http=True)
        monkeypatch.delenv("KLIP_TOKEN", raising=False)


def test_tokens_are_made_once_and_for_the_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KLIP_TOKEN", raising=False)
    network = ServerSettings(host="0.0.0.0", folder=str(tmp_path))
    token, made = token_of(network)
    assert made == tmp_path / "token"
    assert made.stat().st_mode & 0o777 == 0o600
    assert token_of(network) == (token, None)
    assert token_of(ServerSettings(folder=str(tmp_path))) == (None, None)  # loopback
    monkeypatch.setenv("KLIP_TOKEN", TOKEN)
    assert token_of(ServerSettings(folder=str(tmp_path))) == (TOKEN, None)


def test_settings_that_contradict_each_other() -> None:
    with pytest.raises(KlipError, match="private key alone"):
        ServerSettings(key="key.pem")
    with pytest.raises(KlipError, match="Results would be deleted"):
        ServerSettings(keep_uploads_h=5, keep_results_h=1)
