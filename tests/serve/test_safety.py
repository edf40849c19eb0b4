"""Who may use the server, and what a hostile client can make of it: nothing."""

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from marotte.errors import MarotteError
from marotte.runtime.live.limits import Limits
from marotte.runtime.serve.app import SERVER
from marotte.runtime.serve.config import IceServer, ServeConfig
from marotte.runtime.serve.server import best_rate, bind


async def raw(client, data):
    """Send bytes as they are; return what comes back until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.listening.port)
    writer.write(data)
    await writer.drain()
    try:
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()


def asking(line, *headers):
    return "\r\n".join([f"{line} HTTP/1.1", *headers, "Connection: close", "", ""]).encode()


def test_a_token_is_asked_for(serving):
    async def work(client):
        bare = {"Authorization": ""}
        for path, method in (("/metrics", "GET"), ("/v1/options", "GET"), ("/v1/sessions", "POST"), ("/v1/x", "GET")):
            for headers in (bare, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer s3cre"}):
                async with client.http.request(method, path, headers=headers, json={}) as response:
                    assert response.status == (401 if path != "/v1/x" else 404)
            async with client.http.request(method, path + "?token=no", headers=bare, json={}) as response:
                assert response.status in (401, 404)
        async with client.http.get("/healthz", headers=bare) as response:
            assert response.status == 200
        async with client.http.get("/metrics?token=s3cret", headers=bare) as response:
            assert response.status == 200
        session = await client.open()
        address = client.address + session["urls"]["control"]
        async with aiohttp.ClientSession() as http:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect(address)
            assert refused.value.status == 401
            async with http.ws_connect(address + "?token=s3cret") as control:
                assert (await control.receive_json())["type"] == "ready"

    serving(work, token="s3cret")


def test_pages_of_others_are_refused(serving):
    async def work(client):
        ours = f"http://127.0.0.1:{client.listening.port}"
        session = await client.open()
        for origin in ("http://evil.example", "null", ours.replace("127.0.0.1", "127.0.0.2"), ours + "0", "https://"):
            headers = {"Origin": origin}
            async with client.http.post("/v1/sessions", json={}, headers=headers) as response:
                assert response.status == 403 and "--origin" in (await response.json())["error"]
            for method in ("PATCH", "DELETE"):
                async with client.http.request(method, session["urls"]["self"], json={}, headers=headers) as response:
                    assert response.status == 403
            for name in ("control", "media"):
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await client.http.ws_connect(session["urls"][name], headers=headers)
                assert refused.value.status == 403
        for origin in (ours, "https://friend.example"):
            async with client.http.ws_connect(session["urls"]["control"], headers={"Origin": origin}):
                pass
        headers = {"Origin": "https://friend.example", "Access-Control-Request-Method": "POST"}
        async with client.http.options("/v1/sessions", headers=headers) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == "https://friend.example"
        async with client.http.options("/v1/sessions", headers={"Origin": "http://evil.example"}) as response:
            assert response.status >= 400 and "Access-Control-Allow-Origin" not in response.headers

    serving(work, origins=("https://friend.example",))


def test_another_name_for_this_address_is_refused(serving):
    async def work(client):
        port = client.listening.port
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "", "[", "localhost.evil"):
            assert b" 421 " in (await raw(client, asking("GET /v1/options", f"Host: {host}"))).split(b"\r\n")[0]
        for host in ("localhost", f"127.0.0.1:{port}", f"[::1]:{port}", "LOCALHOST"):
            assert b" 200 " in (await raw(client, asking("GET /healthz", f"Host: {host}"))).split(b"\r\n")[0]

    serving(work)


def test_no_path_leads_out_of_the_page(serving):
    async def work(client):
        for path in (
            *("/../openapi.json", "/..%2f..%2fetc/passwd", "/%2e%2e/app.py", "/app.py", "/.hidden", "//etc/passwd"),
            *("/page/index.html", "/js/../../app.py", "/index.html%00.js", "/..\\app.py", "/file:///etc/passwd"),
        ):
            answer = await raw(client, asking(f"GET {path}", "Host: localhost"))
            assert b" 404 " in answer.split(b"\r\n")[0] or b" 400 " in answer.split(b"\r\n")[0], (path, answer[:80])
        async with client.http.get("/") as response:
            if response.status == 404:
                pytest.skip("the page is not here")
            assert response.content_type == "text/html" and response.headers["Cache-Control"] == "no-store"
            assert "default-src 'self'" in response.headers["Content-Security-Policy"]
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            mark = response.headers["ETag"]
        async with client.http.get("/index.html", headers={"If-None-Match": mark}) as response:
            assert response.status == 304

    serving(work)


def test_a_session_is_its_own_secret(serving):
    async def work(client):
        one, two = await client.open(), await client.open()
        assert len(one["id"]) == 32 and one["id"] != two["id"]
        for path in ("/v1/options", "/metrics", "/healthz", two["urls"]["self"]):
            async with client.http.get(path) as response:
                assert one["id"] not in await response.text()

    serving(work)


def test_garbage_on_the_port_ends_in_an_answer_or_the_end(serving):
    async def work(client):
        client.limit(client.listening, request_s=0.3)
        for data in (
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET " + b"/" * 20_000 + b" HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % i for i in range(2000)) + b"\r\n",
            b"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        ):
            answer = await raw(client, data + b"\r\n\r\n")
            assert b" 200 " not in answer.split(b"\r\n")[0] and b" 201 " not in answer.split(b"\r\n")[0]
        client.limit(client.listening, request_s=30)
        await client.open()

    serving(work)


def test_bodies_that_are_packed_or_never_come_leave_no_trace(serving, tools, caplog):
    async def work(client):
        session = await client.open()
        for path in ("/v1/sessions", session["urls"]["say"]):
            headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", "Content-Length": "9"}
            async with client.http.post(path, data=b"not a zip", headers=headers, compress=False) as response:
                assert response.status == 415 and "gzip" in (await response.json())["error"]
        await client.end(session)
        for length in (2, 9):
            for _ in range(4):
                head = "Host: localhost", "Content-Type: application/json", f"Content-Length: {length}"
                _, writer = await asyncio.open_connection("127.0.0.1", client.listening.port)
                writer.write(asking("POST /v1/sessions", *head) + b"{}")
                await writer.drain()
                writer.transport.abort()
        await tools.until(lambda: len(client.listening._runner.server.connections) <= 1)  # ours
        await tools.until(lambda: client.rooms._opening == 0)
        async with client.http.get("/healthz") as response:
            assert await response.json() == {"status": "ready"}
        client.rooms.ready.clear()
        async with client.http.get("/healthz") as response:
            assert response.status == 503 and await response.json() == {"status": "starting"}
        assert len(client.rooms) == len(client.studio.sessions)

    serving(work)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_connections_that_say_nothing_are_ended(serving, tools):
    async def work(client):
        client.limit(client.listening, request_s=0.2)
        assert await raw(client, b"") == b""
        assert await raw(client, b"GET / HTTP/1.1\r\nHost: loc") == b""
        client.limit(client.listening, request_s=60)  # for the head; for the body:
        client.limit(client.app[SERVER], request_s=0.2)
        head = "POST /v1/sessions", "Host: localhost", "Content-Type: application/json", "Content-Length: 10"
        assert b" 408 " in await raw(client, asking(*head) + b"{")
        many = [await asyncio.open_connection("127.0.0.1", client.listening.port) for _ in range(12)]
        await tools.until(lambda: sum(reader.at_eof() for reader, _ in many) == 4)
        for _, writer in many:
            writer.close()

    serving(work, limits={"connections": 8})


def test_too_many_requests_are_refused(serving):
    async def work(client):
        async def wait_for(status):
            while True:
                async with client.http.get("/healthz") as response:
                    if response.status == status:
                        return
                await asyncio.sleep(0.01)

        for status in (200, 429, 200):
            await wait_for(status)

    serving(work, limits={"messages": 5})


def test_other_hosts_need_a_token():
    assert not ServeConfig().token and ServeConfig(host="localhost").loopback and ServeConfig(host="::1").loopback
    config = ServeConfig(host="0.0.0.0")
    assert len(config.token) >= 32 and config.token in config.url(1) and config.token != ServeConfig(host="::").token
    assert ServeConfig(host="0.0.0.0", token="mine").token == "mine"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"port": 70_000}, "port 70000"),
        ({"tls_cert": "x.pem"}, "together"),
        ({"origins": ("example.org",)}, "origin 'example.org'"),
    ],
)
def test_configurations_that_cannot_be(options, words):
    with pytest.raises(MarotteError, match=words):
        ServeConfig(**options)


@pytest.fixture
def certificate(tmp_path):
    """Files of a certificate for this machine, and of its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "here")])
    here = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    made = made.add_extension(here, critical=False).sign(key, hashes.SHA256())
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(key.private_bytes(*form))
    return {"tls_cert": str(tmp_path / "cert.pem"), "tls_key": str(tmp_path / "key.pem")}


def test_pages_and_sockets_by_tls(serving, tools, certificate):
    async def work(client):
        async with client.http.get("/") as page:
            assert page.status == 200 and page.url.scheme == "https"
        session = await client.open()
        async with client.control(session) as control, client.media(session) as media:
            await tools.heard(control, "ready")
            await media.receive_bytes(timeout=tools.patience_s)

    serving(work, **certificate)


def test_files_that_are_no_certificate(tmp_path):
    (tmp_path / "x").write_text("no")
    with pytest.raises(MarotteError, match="no certificate"):
        ServeConfig(tls_cert=str(tmp_path / "x"), tls_key=str(tmp_path / "x")).ssl_context()


def test_a_port_that_is_taken_and_a_host_that_is_none():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(MarotteError, match="give another --port"):
            bind(ServeConfig(port=taken.getsockname()[1]))
    with pytest.raises(MarotteError, match=r"no address of this machine|cannot be opened"):
        bind(ServeConfig(host="no such host"))


def test_limits_and_servers_are_read():
    assert Limits.read(["sessions=3", "idle_s=1.5"]) == Limits(sessions=3, idle_s=1.5)
    for bad in (["session=3"], ["sessions=x"], ["sessions"], ["sessions=0"], ["sessions=1.5"]):
        with pytest.raises(MarotteError):
            Limits.read(bad)
    assert IceServer.read("turn:a:3478,me,se,cret").table() == {
        "urls": "turn:a:3478",
        "username": "me",
        "credential": "se,cret",
    }
    for bad in ("http://x", "turn:a,me", ""):
        with pytest.raises(MarotteError):
            IceServer.read(bad)


def test_the_usual_rate_is_what_the_machine_draws():
    assert [best_rate(cost) for cost in (0.001, 0.011, 0.015, 0.025, 1.0)] == [60, 60, 30, 25, 25]
