//! One record as one line: JSON or the combined format.
//!
//! Written by hand rather than through a serialiser: this is done for every request of all workers by one thread.
//! Measured on one core of a shared EPYC (Zen 4) with the record of a browser's request (335 bytes, 696 as JSON), best of
//! twenty rounds: 250 ns a line, of which decoding the record takes 50.

use super::cursor::Cursor;
use super::escape;
use super::redact;
use super::time::Clock;
use std::net::IpAddr;
use traffic::Phase;
use traffic::record::{Record, Subject, TlsRecord};

/// Formats the lines of one log. Public for `bench`, which measures it.
#[derive(Debug)]
pub struct Formatter {
    format: Format,
    clock: Clock,
    cursor: Cursor,
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Json,
    Combined,
}

impl Formatter {
    /// One object per line, every field in every line, in the same order. Empty strings are fields that the request or
    /// the exchange did not have; `cause` is null when the endpoint's response went through.
    pub fn json() -> Self {
        Formatter { format: Format::Json, clock: Clock::default(), cursor: Cursor::default() }
    }

    /// The combined format of Apache httpd: client, time, request line, status, bytes, referer, user agent.
    pub fn combined() -> Self {
        Formatter { format: Format::Combined, clock: Clock::default(), cursor: Cursor::default() }
    }

    /// Appends the line with its line break.
    pub fn line(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        self.cursor.clear();
        match self.format {
            Format::Json => json(record, &mut self.clock, &mut self.cursor),
            Format::Combined => combined(record, &mut self.clock, &mut self.cursor),
        }
        out.extend_from_slice(self.cursor.as_slice());
    }
}

fn json(record: &Record<'_>, clock: &mut Clock, out: &mut Cursor) {
    out.literal(b"{\"time\":\"");
    clock.rfc3339(record.time_unix_ns, out);
    out.literal(b"\",\"id\":\"");
    hex(record.request_id.0, out);
    hex(record.request_id.1, out);
    out.literal(b"\",\"client\":\"");
    address(record.client, out);
    text(b"\",\"listener\":\"", record.listener.as_bytes(), out);
    text(b"\",\"method\":\"", record.method, out);
    text(b"\",\"host\":\"", record.host, out);
    text(b"\",\"path\":\"", record.path, out);
    text(b"\",\"query\":\"", &redact::query(record.query.unwrap_or_default()), out);
    out.literal(b"\",\"protocol\":\"");
    out.slice(protocol(record).as_bytes());
    number(b"\",\"status\":", record.status.into(), out);
    match record.cause {
        Some(cause) => {
            out.literal(b",\"cause\":\"");
            out.slice(cause.name().as_bytes());
            out.byte(b'"');
        }
        None => out.literal(b",\"cause\":null"),
    }
    if let Some(status) = record.grpc_status {
        out.literal(b",\"grpc_status\":\"");
        out.slice(status.name().as_bytes());
        out.byte(b'"');
    }
    text(b",\"route\":\"", record.route.as_bytes(), out);
    text(b"\",\"upstream\":\"", record.upstream.as_bytes(), out);
    text(b"\",\"endpoint\":\"", record.endpoint.as_bytes(), out);
    if !record.auth.is_empty() {
        text(b"\",\"consumer\":\"", record.consumer.as_bytes(), out);
        text(b"\",\"auth\":\"", record.auth.as_bytes(), out);
    }
    if !record.limit.is_empty() {
        text(b"\",\"limit\":\"", record.limit.as_bytes(), out);
    }
    number(b"\",\"attempts\":", record.attempts.into(), out);
    number(b",\"bytes_in\":", record.bytes_in, out);
    number(b",\"bytes_out\":", record.bytes_out, out);
    if let Some((coding, bytes)) = record.coded {
        out.literal(b",\"coding\":\"");
        out.slice(coding.as_str().as_bytes());
        number(b"\",\"bytes_uncoded\":", bytes, out);
    }
    text(b",\"user_agent\":\"", record.user_agent, out);
    text(b"\",\"referer\":\"", &redact::address(record.referer), out);
    out.byte(b'"');
    tls(record.tls, out);
    number(b",\"total_us\":", record.total_us.into(), out);
    for (key, micros) in PHASE_KEYS.iter().zip(record.phases_us) {
        out.slice(key.as_bytes());
        out.decimal(micros.into());
    }
    out.literal(b"}\n");
}

/// Of the client's TLS; `null` in plain text.
fn tls(record: Option<TlsRecord<'_>>, out: &mut Cursor) {
    let Some(tls) = record else { return out.literal(b",\"tls\":null") };
    out.literal(b",\"tls\":{\"version\":\"TLSv1.");
    out.byte(if tls.is_13 { b'3' } else { b'2' });
    text(b"\",\"cipher\":\"", tls.cipher.as_bytes(), out);
    text(b"\",\"server_name\":\"", tls.server_name.as_bytes(), out);
    out.literal(b"\",\"resumed\":");
    out.slice(if tls.resumed { b"true" } else { b"false" });
    text(b",\"client\":\"", tls.client.as_bytes(), out);
    out.literal(b"\",\"client_sha256\":\"");
    for byte in tls.fingerprint.iter().flatten() {
        out.slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
    out.literal(b"\"}");
}

/// The keys of the phases, in the order of [`traffic::Phase::ALL`]; a test compares them with the names.
const PHASE_KEYS: [&str; Phase::ALL.len()] = [
    ",\"tls_us\":",
    ",\"head_us\":",
    ",\"route_us\":",
    ",\"filter_us\":",
    ",\"retry_us\":",
    ",\"queue_us\":",
    ",\"connect_us\":",
    ",\"send_us\":",
    ",\"wait_us\":",
    ",\"receive_us\":",
    ",\"deliver_us\":",
];

/// `key` ends what stands before it and opens the string; whoever comes next closes it.
#[inline(always)]
fn text<const N: usize>(key: &[u8; N], value: &[u8], out: &mut Cursor) {
    out.literal(key);
    escape::json(value, out);
}

#[inline(always)]
fn number<const N: usize>(key: &[u8; N], value: u64, out: &mut Cursor) {
    out.literal(key);
    out.decimal(value);
}

fn protocol(record: &Record<'_>) -> &'static str {
    match record.subject {
        Subject::Exchange => record.version.as_str(),
        Subject::Flow => "TCP",
        Subject::Datagrams => "UDP",
    }
}

fn combined(record: &Record<'_>, clock: &mut Clock, out: &mut Cursor) {
    address(record.client, out);
    out.literal(b" - ");
    or_dash(record.consumer.as_bytes(), out);
    out.literal(b" [");
    clock.combined(record.time_unix_ns, out);
    out.literal(b"] \"");
    match record.subject {
        Subject::Exchange => {
            escape::combined(record.method, out);
            out.byte(b' ');
            escape::combined(record.path, out);
            if let Some(query) = record.query {
                out.byte(b'?');
                escape::combined(&redact::query(query), out);
            }
        }
        // No request: where the connection arrived, and whom it reached.
        Subject::Flow | Subject::Datagrams => {
            escape::combined(record.listener.as_bytes(), out);
            out.byte(b' ');
            or_dash(record.endpoint.as_bytes(), out);
        }
    }
    out.byte(b' ');
    out.slice(protocol(record).as_bytes());
    out.literal(b"\" ");
    out.decimal(record.status.into());
    out.byte(b' ');
    out.decimal(record.bytes_out);
    out.literal(b" \"");
    or_dash(&redact::address(record.referer), out);
    out.literal(b"\" \"");
    or_dash(record.user_agent, out);
    out.literal(b"\"\n");
}

fn or_dash(value: &[u8], out: &mut Cursor) {
    escape::combined(if value.is_empty() { b"-" } else { value }, out);
}

fn hex(value: u64, out: &mut Cursor) {
    let digits = value.to_be_bytes().map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    out.slice(digits.as_flattened());
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn address(client: IpAddr, out: &mut Cursor) {
    match client {
        IpAddr::V4(client) => {
            for (place, octet) in client.octets().into_iter().enumerate() {
                if place > 0 {
                    out.byte(b'.');
                }
                out.decimal(octet.into());
            }
        }
        // Rarer and longer: the library knows where to put the `::`.
        IpAddr::V6(client) => out.slice(client.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use traffic::Cause;

    fn record<'a>() -> Record<'a> {
        Record {
            time_unix_ns: 1_790_000_000_123_456_789,
            request_id: (0x0123, u64::MAX),
            client: IpAddr::from([192, 0, 2, 7]),
            listener: "web",
            method: b"GET",
            host: b"shop.example.com",
            path: b"/a",
            query: Some(b"q=\"1\""),
            status: 502,
            cause: Some(Cause::UpstreamReset),
            route: "shop.example.com /",
            upstream: "api",
            endpoint: "10.0.0.1:80",
            attempts: 2,
            bytes_in: 70,
            bytes_out: 321,
            user_agent: b"curl/8 \xff\n",
            phases_us: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
            total_us: 45,
            ..Record::EMPTY
        }
    }

    fn line(mut formatter: Formatter) -> String {
        let mut out = Vec::new();
        formatter.line(&record(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_json_line_is_one_object_with_every_field() {
        let line = line(Formatter::json());
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = serde_json::json!({
            "time": "2026-09-21T14:13:20.123456Z", "id": "0000000000000123ffffffffffffffff", "client": "192.0.2.7",
            "listener": "web", "method": "GET", "host": "shop.example.com", "path": "/a", "query": "q=\"1\"",
            "protocol": "HTTP/1.1", "status": 502, "cause": "upstream_reset_headers", "route": "shop.example.com /",
            "upstream": "api", "endpoint": "10.0.0.1:80", "attempts": 2, "bytes_in": 70, "bytes_out": 321,
            "user_agent": "curl/8 \u{fffd}\n", "referer": "", "tls": null, "total_us": 45, "tls_us": 0, "head_us": 1, "route_us": 2,
            "filter_us": 3, "retry_us": 4, "queue_us": 5, "connect_us": 6, "send_us": 7, "wait_us": 8,
            "receive_us": 9, "deliver_us": 10
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn a_flow_has_a_line_without_a_request() {
        let record = Record {
            subject: Subject::Flow,
            listener: "postgres",
            cause: Some(Cause::FlowClosed),
            upstream: "pg",
            endpoint: "10.0.0.1:5432",
            bytes_in: 5,
            bytes_out: 7,
            ..Record::EMPTY
        };
        let print = |mut formatter: Formatter| {
            let mut out = Vec::new();
            formatter.line(&record, &mut out);
            String::from_utf8(out).unwrap()
        };
        let json: serde_json::Value = serde_json::from_str(&print(Formatter::json())).unwrap();
        for (member, expected) in [
            ("protocol", "TCP"),
            ("listener", "postgres"),
            ("upstream", "pg"),
            ("endpoint", "10.0.0.1:5432"),
            ("cause", "flow_closed"),
            ("method", ""),
        ] {
            assert_eq!(json[member], expected, "{member}");
        }
        assert_eq!(
            (&json["bytes_in"], &json["bytes_out"], &json["status"]),
            (&5.into(), &7.into(), &0.into())
        );
        assert_eq!(
            print(Formatter::combined()),
            "0.0.0.0 - - [01/Jan/1970:00:00:00 +0000] \"postgres 10.0.0.1:5432 TCP\" 0 7 \"-\" \"-\"\n"
        );
    }

    #[test]
    fn what_is_known_of_tls_is_an_object_of_its_own() {
        let tls = TlsRecord {
            is_13: false,
            resumed: true,
            cipher: "C",
            server_name: "a.example",
            client: "CN=\"x\"",
            fingerprint: Some([0xa7; 32]),
        };
        let mut out = Vec::new();
        Formatter::json().line(&Record { tls: Some(tls), ..record() }, &mut out);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let expected = serde_json::json!({
            "version": "TLSv1.2", "cipher": "C", "server_name": "a.example", "resumed": true, "client": "CN=\"x\"",
            "client_sha256": "a7".repeat(32)
        });
        assert_eq!(value["tls"], expected);
    }

    #[test]
    fn keys_of_phases_are_their_names() {
        let names: Vec<_> = Phase::ALL.iter().map(|phase| format!(",\"{}_us\":", phase.name())).collect();
        assert_eq!(names, PHASE_KEYS);
    }

    #[test]
    fn a_combined_line_keeps_hostile_bytes_in_their_quotes() {
        assert_eq!(
            line(Formatter::combined()),
            "192.0.2.7 - - [21/Sep/2026:14:13:20 +0000] \"GET /a?q=\\x221\\x22 HTTP/1.1\" 502 321 \"-\" \
             \"curl/8 \\xFF\\x0A\"\n"
        );
    }
}
