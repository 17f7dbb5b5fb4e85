//! WebSockets between a client and a server that others wrote: `websockets` from PyPI, in clear text and over TLS.

use crate::harness::Setup;
use crate::harness::process::Process;
use crate::harness::tls::{Authority, run as program};
use std::net::SocketAddr;
use std::path::Path;

/// Says back what it is told, and which port it has.
const SERVER: &str = r#"
import asyncio, sys
from websockets.asyncio.server import serve
async def echo(socket):
    async for message in socket:
        await socket.send(message)
async def main():
    async with serve(echo, "127.0.0.1", 0, max_size=None, subprotocols=["chat"]) as server:
        print("port", server.sockets[0].getsockname()[1], file=sys.stderr, flush=True)
        await asyncio.get_running_loop().create_future()
asyncio.run(main())
"#;

/// Sends text, bytes, many small messages and a ping, each after the answer to the last, and ends in order.
const CLIENT: &str = r#"
import asyncio, ssl, sys
from websockets.asyncio.client import connect
url, ca = sys.argv[1:]
options = {"host": "127.0.0.1"}
if ca:
    options["ssl"] = ssl.create_default_context(cafile=ca)
async def main():
    async with connect(url, max_size=None, subprotocols=["chat"], proxy=None, **options) as socket:
        assert socket.subprotocol == "chat", socket.subprotocol
        blob = bytes(range(256)) * 4096
        for message in ["grüße", "", blob, *map(str, range(100))]:
            await socket.send(message)
            assert await socket.recv() == message, message[:20]
        await asyncio.wait_for(await socket.ping(), 20)
        await socket.close(1000, "done")
        assert socket.close_code == 1000, socket.close_code
    print("good")
asyncio.run(main())
"#;

fn python() -> String {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/grpc-venv/bin/python");
    assert!(python.exists(), "{} is not here: tests/run makes it", python.display());
    python.display().to_string()
}

both! {
    fn others_clients_and_servers_talk_through_a_tunnel(io) {
        let server = Process::start(&python(), &["-c", SERVER]);
        let port = server.wait_for_line("the server's port", |line| line.strip_prefix("port ")?.parse::<u16>().ok());
        let authority = Authority::new();
        authority.issue("shop", &["shop.example"]);
        for (scheme, tls, ca) in [
            ("ws", String::new(), String::new()),
            ("wss", format!("tls {{ {} }}", authority.certificate("shop")), authority.ca()),
        ] {
            let endpoint = SocketAddr::from(([127, 0, 0, 1], port));
            let ringway = Setup { listener: &tls, ..Setup::to(endpoint) }.start(io);
            let url = format!("{scheme}://shop.example:{}/chat", ringway.address("web").port());
            let said = program(&python(), &["-c", CLIENT, &url, &ca], b"");
            assert!(said.good && said.text.contains("good"), "{}", said.text);
            let mut record = ringway.records(1).remove(0);
            assert_eq!((&record["status"], &record["cause"]), (&101.into(), &serde_json::Value::Null));
            let passed = record["bytes_out"].take().as_u64().expect("a number");
            assert!(passed > 1000, "{passed}");
            ringway.stop();
        }
    }
}
