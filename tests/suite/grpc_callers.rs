//! Callers that others wrote: `grpcio` from PyPI, which is the C core of gRPC, over clear text and TLS.

use crate::harness::tls::Authority;
use crate::harness::{Gate, Io, Origin, Received, Reply, Ringway, Setup, wait_until};
use crate::http2_rules::caused;
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Makes one call and says as JSON how it ended.
const CALLER: &str = r#"
import grpc, json, queue, sys
target, ca, case = sys.argv[1:]
if ca:
    with open(ca, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    channel = grpc.secure_channel(target, credentials, [("grpc.ssl_target_name_override", "shop.example")])
else:
    channel = grpc.insecure_channel(target)
def pieces():
    for piece in (b"one ", b"two ", b"three"):
        yield piece
answers, call = [], None
try:
    if case == "unary":
        answer, call = channel.unary_unary("/suite.Echo/Unary").with_call(b"hello", metadata=(("x-ask", "1"),), timeout=20)
        answers.append(answer)
    elif case == "server-stream":
        call = channel.unary_stream("/suite.Echo/Count")(b"3", timeout=20)
        for answer in call:
            answers.append(answer)
            print(json.dumps({"message": answer.decode()}), flush=True)
    elif case == "client-stream":
        answer, call = channel.stream_unary("/suite.Echo/Join").with_call(pieces(), timeout=20)
        answers.append(answer)
    elif case == "deadline":
        channel.unary_unary("/suite.Echo/Never")(b"hello", timeout=0.4)
    elif case == "cancel":
        call = channel.unary_stream("/suite.Echo/Cancelled")(b"hello", timeout=20)
        answers.append(next(call))
        call.cancel()
        next(call)
    elif case == "fail":
        channel.unary_unary("/suite.Echo/Fail")(b"hello", timeout=20)
    said = {"code": call.code().name, "details": call.details()}
except grpc.RpcError as error:
    call = error
    said = {"code": error.code().name, "details": error.details()}
said["answers"] = [answer.decode() for answer in answers]
said["initial"] = dict(call.initial_metadata() or ())
said["trailing"] = {name: str(value) for name, value in (call.trailing_metadata() or ())}
print(json.dumps(said), flush=True)
"#;

/// One call that is under way.
struct Call(Child);

impl Call {
    #[track_caller]
    fn begin(ringway: &Ringway, ca: &str, case: &str) -> Call {
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/grpc-venv/bin/python");
        assert!(python.exists(), "{} is not here: tests/run makes it", python.display());
        let child = Command::new("timeout")
            .arg("60")
            .arg(python)
            .args(["-c", CALLER, &ringway.address("web").to_string(), ca, case])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Call(child.expect("Python starts"))
    }

    /// The last line that it says.
    #[track_caller]
    fn end(self) -> Value {
        let output = self.0.wait_with_output().expect("it ends");
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let last = said.lines().last().unwrap_or_else(|| panic!("it says nothing: {errors}"));
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {said}{errors}"))
    }
}

/// A message as it stands in a body.
fn message(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("short").to_be_bytes();
    [&[0][..], &length, text.as_bytes()].concat()
}

/// The messages of a body, one behind the other.
fn texts(mut body: &[u8]) -> String {
    let mut all = String::new();
    while let [0, a, b, c, d, rest @ ..] = body {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        all.push_str(&String::from_utf8_lossy(&rest[..length]));
        body = &rest[length..];
    }
    assert!(body.is_empty(), "{body:?}");
    all
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

const HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nX-Head: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
const DONE: &str = "0\r\ngrpc-status: 0\r\nx-tail: 2\r\n\r\n";

/// A server of gRPC whose transport is HTTP/1.1 with trailers.
fn serve(request: &Received, gates: &[Gate; 2]) -> Reply {
    match request.target() {
        "/suite.Echo/Unary" => Reply::bytes(HEAD).then(chunk(&message("welcome"))).then(DONE),
        "/suite.Echo/Join" => Reply::bytes(HEAD).then(chunk(&message("thanks"))).then(DONE),
        "/suite.Echo/Count" => Reply::bytes(HEAD)
            .then(chunk(&message("1")))
            .then_wait(&gates[0])
            .then(chunk(&message("2")))
            .then_wait(&gates[1])
            .then(chunk(&message("3")))
            .then(DONE),
        "/suite.Echo/Fail" => {
            Reply::bytes(HEAD).then("0\r\ngrpc-status: 9\r\ngrpc-message: not%20now\r\n\r\n")
        }
        "/suite.Echo/Cancelled" => Reply::bytes(HEAD).then(chunk(&message("first"))).then_echo(),
        _ => Reply::silence(),
    }
}

fn start(io: Io, origin: &Origin, tls: Option<&Authority>) -> Ringway {
    let listener = match tls {
        Some(authority) => format!("tls {{ {} }}\nhttp2 #true", authority.certificate("shop")),
        None => "http2 \"cleartext\"".to_owned(),
    };
    Setup { listener: &listener, ..Setup::to(origin.address()) }.start(io)
}

/// What a call that succeeds says, and the log about it.
#[track_caller]
fn assert_good(said: &Value, answers: &[&str]) {
    assert_eq!((&said["code"], &said["answers"]), (&"OK".into(), &answers.to_vec().into()), "{said}");
    assert_eq!(
        (&said["initial"]["x-head"], &said["trailing"]["x-tail"]),
        (&"1".into(), &"2".into()),
        "{said}"
    );
}

both! {
    fn calls_of_every_kind_end_as_their_server_says(io) {
        let authority = Authority::new();
        authority.issue("shop", &["shop.example"]);
        let ca = authority.ca();
        for (tls, ca) in [(None, ""), (Some(&authority), ca.as_str())] {
            let gates = [Gate::default(), Gate::default()];
            gates.iter().for_each(Gate::open);
            let origin = Origin::start(move |request| serve(request, &gates));
            let ringway = start(io, &origin, tls);
            let calls = ["unary", "client-stream", "server-stream", "fail"].map(|case| Call::begin(&ringway, ca, case));
            let [unary, joined, counted, failed] = calls.map(Call::end);
            assert_good(&unary, &["welcome"]);
            assert_good(&joined, &["thanks"]);
            assert_good(&counted, &["1", "2", "3"]);
            assert_eq!((&failed["code"], &failed["details"]), (&"FAILED_PRECONDITION".into(), &"not now".into()));
            let asked = origin.requests();
            let unary = asked.iter().find(|request| request.target() == "/suite.Echo/Unary").expect("it was asked");
            assert_eq!((unary.head.get("x-ask"), unary.head.get("te")), (Some("1"), Some("trailers")));
            let joined = asked.iter().find(|request| request.target() == "/suite.Echo/Join").expect("it was asked");
            assert_eq!((texts(&unary.body), texts(&joined.body)), ("hello".to_owned(), "one two three".to_owned()));
            let mut ended: Vec<_> = ringway.records(4).iter().map(|record| record["grpc_status"].to_string()).collect();
            ended.sort();
            assert_eq!(ended, ["\"FAILED_PRECONDITION\"", "\"OK\"", "\"OK\"", "\"OK\""]);
            ringway.stop_after(origin);
        }
    }

    /// The caller says when it has a message; the server goes on only then.
    fn messages_of_a_stream_are_with_the_caller_as_soon_as_they_are_sent(io) {
        use std::io::{BufRead, BufReader};
        let gates = [Gate::default(), Gate::default()];
        let held = gates.clone();
        let origin = Origin::start(move |request| serve(request, &held));
        let ringway = start(io, &origin, None);
        let mut call = Call::begin(&ringway, "", "server-stream");
        let mut lines = BufReader::new(call.0.stdout.take().expect("it is piped")).lines();
        for (number, gate) in gates.iter().enumerate() {
            let line = lines.next().expect("a line").expect("text");
            assert_eq!(line, format!("{{\"message\": \"{}\"}}", number + 1));
            gate.open();
        }
        let last: Value = serde_json::from_str(&lines.last().expect("a line").expect("text")).expect("JSON");
        assert_good(&last, &["1", "2", "3"]);
        let _ = call.0.wait();
        ringway.stop_after(origin);
    }

    fn deadlines_cancellations_and_a_missing_endpoint_are_what_callers_expect(io) {
        let gates = [Gate::default(), Gate::default()];
        let origin = Origin::start(move |request| serve(request, &gates));
        let ringway = start(io, &origin, None);
        let calls = ["deadline", "cancel"].map(|case| Call::begin(&ringway, "", case));
        let [late, cancelled] = calls.map(Call::end);
        assert_eq!(late["code"], "DEADLINE_EXCEEDED", "{late}");
        assert_eq!((&cancelled["code"], &cancelled["answers"]), (&"CANCELLED".into(), &vec!["first"].into()));
        // Both have let go of the endpoint; whoever is first to see the deadline says so.
        wait_until("both calls are over", || {
            caused(&ringway, "client_gone") + caused(&ringway, "call_deadline") == 2
        });
        let told = origin.requests().iter().filter(|request| request.head.get("grpc-timeout").is_some()).count();
        assert_eq!(told, 2);
        drop(origin);
        let gone = Call::begin(&ringway, "", "unary").end();
        assert_eq!(gone["code"], "UNAVAILABLE", "{gone}");
        assert!(gone["details"].as_str().is_some_and(|details| details.ends_with("(connect_refused)")), "{gone}");
        ringway.stop();
    }
}
