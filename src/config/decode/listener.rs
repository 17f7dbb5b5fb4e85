//! Entry points.

use super::{Decoder, Scope};
use crate::document::{Literal as Raw, Object, Scalar};
use crate::literal::Bytes;
use crate::model::{Http2, Listener, ListenerLimits, ListenerTimeouts, ListenerTls, SocketFile};
use crate::problem::Code;
use std::time::Duration;

impl Decoder<'_> {
    pub(super) fn listener(&mut self, scope: &Scope<'_>) -> Listener {
        if !scope.has("bind") {
            self.missing(scope, "the listener has no address", "add bind \"0.0.0.0:8080\"");
        }
        let nothing = Object::default();
        let or_nothing = |key| scope.member(key).unwrap_or_else(|| Scope::new(&nothing, String::new()));
        Listener {
            name: self.name(scope, "listener"),
            binds: self.literals(scope, "bind"),
            socket_file: scope.member("socket-file").map(|file| self.socket_file(&file)),
            proxy_protocol: scope.member("proxy-protocol").map(|proxy| self.proxy_protocol(&proxy)),
            trusted_proxies: self.literals(scope, "trusted-proxies"),
            unsafe_underscore_fields: self.flag(scope, "unsafe-underscore-fields"),
            abort_on_close: self.flag(scope, "abort-on-close"),
            http2: self.http2(scope),
            tls: self.tls_and_http2(scope),
            timeouts: self.listener_timeouts(&or_nothing("timeouts")),
            limits: self.listener_limits(&or_nothing("limits")),
            origin: self.origin(scope),
        }
    }

    pub(super) fn socket_file(&mut self, scope: &Scope<'_>) -> SocketFile {
        SocketFile {
            mode: self.literal(scope, "mode"),
            owner: self.text(scope, "owner"),
            group: self.text(scope, "group"),
        }
    }

    fn tls_and_http2(&mut self, scope: &Scope<'_>) -> Option<ListenerTls> {
        let mut tls = self.listener_tls(&scope.member("tls")?);
        // What it does besides has been reported already.
        let says_so = |scalar: &Scalar| scalar.value == Raw::Bool(true);
        tls.http2 = scope.scalar("http2").is_some_and(says_so);
        Some(tls)
    }

    fn http2(&mut self, scope: &Scope<'_>) -> Http2 {
        let Some(scalar) = scope.scalar("http2") else { return Http2::Off };
        match &scalar.value {
            Raw::Bool(false) => return Http2::Off,
            Raw::Text(text) if text == "cleartext" && scope.has("tls") => {
                let hint = "with TLS it is agreed upon: write http2 #true".to_owned();
                let what = "this listener does not speak clear text".to_owned();
                self.error(Code::Contradiction, scalar.span, what, Some(hint));
            }
            Raw::Text(text) if text == "cleartext" => return Http2::Cleartext,
            Raw::Bool(true) if scope.has("tls") => return Http2::On,
            Raw::Bool(true) => {
                let hint = "add tls { … }, or, for clients that begin to speak it without being asked, write http2 \"cleartext\"";
                let what = "HTTP/2 is agreed upon in TLS, which this listener does not speak".to_owned();
                self.error(Code::Value, scalar.span, what, Some(hint.to_owned()));
            }
            _ => self.wrong("http2", scalar, "#true, #false or \"cleartext\""),
        }
        Http2::Off
    }

    /// The name in the first argument of a listener or an upstream.
    pub(super) fn name(&mut self, scope: &Scope<'_>, of: &str) -> String {
        let Some(scalar) = scope.scalar("name") else {
            self.missing(scope, &format!("the {of} has no name"), &format!("write {of} \"name\" {{ … }}"));
            return String::new();
        };
        let name = self.as_text("name", scalar).unwrap_or_default();
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if scalar.is_text() && (!plain || name.is_empty() || name.len() > NAME_BYTES_MAX) {
            let expected = "a name of letters, digits, \"-\", \"_\" and \".\", at most 128 long";
            self.wrong("name", scalar, expected);
        }
        name
    }

    /// A duration that may not be zero.
    pub(super) fn positive(&mut self, scope: &Scope<'_>, key: &str, default: Duration) -> Duration {
        let value = self.literal_or(scope, key, default);
        if value.is_zero()
            && let Some(scalar) = scope.scalar(key)
        {
            self.error(Code::Value, scalar.span, format!("\"{key}\" cannot be zero"), None);
        }
        value
    }

    fn listener_timeouts(&mut self, scope: &Scope<'_>) -> ListenerTimeouts {
        let default = ListenerTimeouts::default();
        ListenerTimeouts {
            handshake: self.positive(scope, "handshake", default.handshake),
            header: self.positive(scope, "header", default.header),
            keep_alive: self.positive(scope, "keep-alive", default.keep_alive),
            http2_idle: self.positive(scope, "http2-idle", default.http2_idle),
            body_idle: self.positive(scope, "body-idle", default.body_idle),
            body_rate: self.literal_or(scope, "body-rate", default.body_rate),
            send_idle: self.positive(scope, "send-idle", default.send_idle),
            send_rate: self.literal_or(scope, "send-rate", default.send_rate),
            tunnel_idle: self.positive(scope, "tunnel-idle", default.tunnel_idle),
        }
    }

    fn listener_limits(&mut self, scope: &Scope<'_>) -> ListenerLimits {
        let default = ListenerLimits::default();
        ListenerLimits {
            connections: self.number(scope, "connections", 1..=10_000_000, default.connections),
            connections_per_client: self.per_client(scope),
            requests_per_connection: self.number(
                scope,
                "requests-per-connection",
                1..=u32::MAX,
                default.requests_per_connection,
            ),
            streams: self.number(scope, "streams", 1..=1000, default.streams),
            header: self.size(scope, "header", Bytes(1 << 10), Bytes(1 << 20), default.header),
            header_line: self.size(scope, "header-line", Bytes(256), Bytes(1 << 20), default.header_line),
            header_fields: self.number(scope, "header-fields", 8..=1000, default.header_fields),
            uri: self.size(scope, "uri", Bytes(64), Bytes(1 << 20), default.uri),
            body: self.literal_or(scope, "body", default.body),
        }
    }

    /// A size in a range.
    pub(super) fn size(
        &mut self,
        scope: &Scope<'_>,
        key: &str,
        least: Bytes,
        most: Bytes,
        default: Bytes,
    ) -> Bytes {
        let size = self.literal_or(scope, key, default);
        if !(least..=most).contains(&size)
            && let Some(scalar) = scope.scalar(key)
        {
            let hint = format!("expected a size from {least} to {most}");
            self.error(Code::Value, scalar.span, format!("\"{key}\" cannot be {size}"), Some(hint));
        }
        size
    }
}

/// Names travel in metrics and log lines.
const NAME_BYTES_MAX: usize = 128;
