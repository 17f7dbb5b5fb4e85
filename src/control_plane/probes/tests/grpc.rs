//! The gRPC check against a server that does what it is told; against a real one in `tests/suite/health.rs`.

use super::{perform, probe};
use base::addr::Addr;
use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Response};
use std::thread;

/// What the server does with the one call.
#[derive(Clone, Copy)]
enum Answer {
    /// The message in a frame, and a code in the trailers.
    Says(&'static [u8], &'static str),
    /// Only a head, with a code.
    TrailersOnly(&'static str),
    /// A head with this status of HTTP.
    Http(u16),
    /// Data without end.
    Endless,
    Reset,
    Silence,
    /// The connection is closed without a word of HTTP/2.
    Hangup,
}

/// Serves one call; the path and the message that came are sent back.
fn server(answer: Answer) -> (Addr, std::sync::mpsc::Receiver<(String, Vec<u8>)>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = Addr::Ip(listener.local_addr().unwrap());
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            if matches!(answer, Answer::Hangup) {
                return;
            }
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, respond))) = connection.accept().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    let path = request.uri().to_string();
                    let mut body = request.into_body();
                    let mut message = Vec::new();
                    while let Some(Ok(part)) = body.data().await {
                        message.extend_from_slice(&part);
                    }
                    let _ = sender.send((path, message));
                    give(respond, answer).await;
                });
            }
        });
    });
    (addr, receiver)
}

async fn give(mut respond: SendResponse<Bytes>, answer: Answer) {
    let head = |status: u16| Response::builder().status(status).header("content-type", "application/grpc");
    match answer {
        Answer::Says(message, code) => {
            let mut stream = respond.send_response(head(200).body(()).unwrap(), false).unwrap();
            stream.send_data(Bytes::from_static(message), false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", code.parse().unwrap());
            stream.send_trailers(trailers).unwrap();
        }
        Answer::TrailersOnly(code) => {
            let head = head(200).header("grpc-status", code).header("grpc-message", "no such thing");
            respond.send_response(head.body(()).unwrap(), true).unwrap();
        }
        Answer::Http(status) => {
            respond.send_response(head(status).body(()).unwrap(), true).unwrap();
        }
        Answer::Endless => {
            let mut stream = respond.send_response(head(200).body(()).unwrap(), false).unwrap();
            while stream.send_data(Bytes::from_static(&[0; 512]), false).is_ok() {
                tokio::task::yield_now().await;
            }
        }
        Answer::Reset => respond.send_reset(h2::Reason::REFUSED_STREAM),
        Answer::Silence => std::future::pending().await,
        Answer::Hangup => {}
    }
}

fn checked(answer: Answer) -> Result<(), String> {
    let (addr, _calls) = server(answer);
    perform(&probe(addr, "grpc service=\"shop.Orders\" every=\"5s\" timeout=\"2s\""))
}

#[test]
fn only_serving_passes() {
    let says = |message, code| checked(Answer::Says(message, code));
    assert_eq!(says(&[0, 0, 0, 0, 2, 8, 1], "0"), Ok(()));
    assert_eq!(says(&[0, 0, 0, 0, 2, 8, 2], "0"), Err("answered NOT_SERVING".into()));
    assert_eq!(says(&[0, 0, 0, 0, 2, 8, 3], "0"), Err("answered SERVICE_UNKNOWN".into()));
    assert_eq!(says(&[0, 0, 0, 0, 0], "0"), Err("answered UNKNOWN".into()));
    assert_eq!(says(&[0, 0, 0, 0, 2, 8, 9], "0"), Err("invalid answer: no HealthCheckResponse".into()));
    assert_eq!(says(&[0, 0, 0, 0, 9, 8, 1], "0"), Err("invalid answer: no HealthCheckResponse".into()));
    assert_eq!(says(&[0, 0, 0, 0, 2, 8, 1], "14"), Err("gRPC status 14 (UNAVAILABLE)".into()));
    assert_eq!(says(&[0, 0, 0, 0, 2, 8, 1], "ok"), Err("invalid answer: no HealthCheckResponse".into()));
}

#[test]
fn a_failure_that_stands_in_the_head_alone_is_understood() {
    let failure = checked(Answer::TrailersOnly("5"));
    assert_eq!(failure, Err("gRPC status 5 (NOT_FOUND: it does not know the service): no such thing".into()));
    assert_eq!(checked(Answer::Http(503)), Err("answered 503".into()));
    assert_eq!(
        checked(Answer::TrailersOnly("0")),
        Err("invalid answer: no HealthCheckResponse".into()),
        "success without a message is none"
    );
}

#[test]
fn r120_servers_that_send_without_end_or_not_at_all_cost_a_bounded_time() {
    assert_eq!(checked(Answer::Endless), Err("invalid answer: no HealthCheckResponse".into()));
    assert!(checked(Answer::Reset).is_err_and(|found| found.starts_with("invalid HTTP/2: ")));
    assert!(checked(Answer::Hangup).is_err());
    let (addr, _calls) = server(Answer::Silence);
    let result = perform(&probe(addr, "grpc every=\"1s\" timeout=\"100ms\""));
    assert_eq!(result, Err("no complete answer within 100 ms".into()));
    let http1 = super::says("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let result = perform(&probe(http1, "grpc every=\"5s\" timeout=\"2s\""));
    assert!(result.is_err(), "{result:?}");
}

#[test]
fn the_call_names_the_service() {
    let (addr, calls) = server(Answer::Says(&[0, 0, 0, 0, 2, 8, 1], "0"));
    perform(&probe(addr, "grpc service=\"a.B\" host=\"orders.internal\"")).unwrap();
    let (path, message) = calls.recv().unwrap();
    assert_eq!(path, "http://orders.internal/grpc.health.v1.Health/Check");
    assert_eq!(message, [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
}
