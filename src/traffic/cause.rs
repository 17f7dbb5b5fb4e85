//! Why Ringway answered a request itself or closed a connection: one closed list.
//!
//! The same names stand in the access log (`cause`), in metrics (`cause="…"`), in the `type` of problem documents and in
//! the documentation.

/// Whose doing it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Downstream,
    /// The endpoint's.
    Upstream,
    /// Ours: configuration, limits, shutdown.
    Ringway,
}

/// The step of the data path at which it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Accept,
    /// The TLS handshake, of either side.
    Secure,
    Decode,
    Route,
    Filter,
    Balance,
    Lease,
    Relay,
    Finish,
}

macro_rules! causes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $side:ident, $stage:ident, $status:literal, $token:literal;)*) => {
        /// The closed list. Each value knows its side, stage, response status and RFC 9209 error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Cause { $($(#[doc = $doc])+ $name,)* }

        impl Cause {
            /// Every cause, in the order of declaration; `cause as usize` is its place.
            pub const ALL: &'static [Cause] = &[$(Cause::$name,)*];

            /// Name in logs, metrics and problem types.
            pub const fn name(self) -> &'static str {
                match self { $(Cause::$name => $text,)* }
            }

            /// What it means, for `title` in problem documents and for the documentation.
            pub const fn title(self) -> &'static str {
                match self { $(Cause::$name => concat!($($doc),+).trim_ascii(),)* }
            }

            pub const fn side(self) -> Side {
                match self { $(Cause::$name => Side::$side,)* }
            }

            pub const fn stage(self) -> Stage {
                match self { $(Cause::$name => Stage::$stage,)* }
            }

            /// Status of the response; 0 when the connection is closed without one. 499 is never sent: the client had gone.
            pub const fn status(self) -> u16 {
                match self { $(Cause::$name => $status,)* }
            }

            /// Error type for `Proxy-Status` (RFC 9209 §2.3); empty when the field is not added.
            pub const fn proxy_status(self) -> &'static str {
                match self { $(Cause::$name => $token,)* }
            }
        }
    };
}

impl Cause {
    /// Whether something went wrong; the others are how exchanges and connections end every day.
    pub const fn is_failure(self) -> bool {
        !matches!(
            self,
            Cause::FixedResponse
                | Cause::Redirect
                | Cause::ClientClosed
                | Cause::ConnectionClose
                | Cause::IdleTimeout
                | Cause::RequestsMax
                | Cause::TunnelClosed
                | Cause::TunnelIdle
                | Cause::FlowClosed
                | Cause::FlowIdle
                | Cause::FlowAnswered
                | Cause::ListenerClosed
        )
    }

    /// The cause of that name.
    pub fn named(name: &str) -> Option<Cause> {
        Cause::ALL.iter().copied().find(|cause| cause.name() == name)
    }
}

causes! {
    /// Content-Length together with Transfer-Encoding.
    ClAndTe = "cl_and_te", Downstream, Decode, 400, "http_request_error";
    /// Content-Length is not a plain decimal number.
    BadCl = "bad_cl", Downstream, Decode, 400, "http_request_error";
    /// More than one Content-Length.
    DuplicateCl = "duplicate_cl", Downstream, Decode, 400, "http_request_error";
    /// Malformed Transfer-Encoding.
    BadTe = "bad_te", Downstream, Decode, 400, "http_request_error";
    /// Transfer-Encoding other than chunked.
    UnknownTe = "unknown_te", Downstream, Decode, 501, "http_request_error";
    /// Transfer-Encoding on an HTTP/1.0 request.
    TeOnHttp10 = "te_on_http10", Downstream, Decode, 400, "http_request_error";
    /// Host is not a valid authority.
    BadHost = "bad_host", Downstream, Decode, 400, "http_request_error";
    /// Host is missing.
    MissingHost = "missing_host", Downstream, Decode, 400, "http_request_error";
    /// More than one Host.
    DuplicateHost = "duplicate_host", Downstream, Decode, 400, "http_request_error";
    /// Host differs from the authority of the request target.
    HostMismatch = "host_mismatch", Downstream, Decode, 400, "http_request_error";
    /// The request target is not a valid URI or has an ambiguous encoding.
    BadUri = "bad_uri", Downstream, Decode, 400, "http_request_error";
    /// The request line is malformed.
    BadRequestLine = "bad_request_line", Downstream, Decode, 400, "http_request_error";
    /// The HTTP version is malformed.
    BadVersion = "bad_version", Downstream, Decode, 400, "http_request_error";
    /// The HTTP version is not supported.
    UnsupportedVersion = "unsupported_version", Downstream, Decode, 505, "http_request_error";
    /// The method is malformed or not allowed for this form of target.
    BadMethod = "bad_method", Downstream, Decode, 400, "http_request_error";
    /// A field name is malformed.
    BadFieldName = "bad_field_name", Downstream, Decode, 400, "http_request_error";
    /// A field value contains a forbidden byte.
    BadFieldValue = "bad_field_value", Downstream, Decode, 400, "http_request_error";
    /// A line ends in LF without CR.
    BareLf = "bare_lf", Downstream, Decode, 400, "http_request_error";
    /// A CR without LF.
    BareCr = "bare_cr", Downstream, Decode, 400, "http_request_error";
    /// A folded field line.
    ObsFold = "obs_fold", Downstream, Decode, 400, "http_request_error";
    /// The header section exceeds its limit.
    HeadTooLarge = "head_too_large", Downstream, Decode, 431, "http_request_error";
    /// One field line exceeds its limit.
    LineTooLong = "line_too_long", Downstream, Decode, 431, "http_request_error";
    /// Too many header fields.
    TooManyFields = "too_many_fields", Downstream, Decode, 431, "http_request_error";
    /// The request target exceeds its limit.
    UriTooLong = "uri_too_long", Downstream, Decode, 414, "http_request_error";
    /// A field name imitates a security-relevant one.
    LookAlike = "look_alike", Downstream, Decode, 400, "http_request_error";
    /// Connection names a field that must not be removed.
    BadConnectionOption = "bad_connection_option", Downstream, Decode, 400, "http_request_error";
    /// The expectation is not supported.
    BadExpect = "bad_expect", Downstream, Decode, 417, "http_request_error";
    /// A body that this method of an HTTP/1.0 request must not have.
    BodyOnHttp10 = "body_on_http10", Downstream, Decode, 413, "http_request_error";
    /// CONNECT is not enabled.
    ConnectNotAllowed = "connect_not_allowed", Downstream, Decode, 405, "http_request_error";
    /// The chunked request body is malformed.
    BadChunk = "bad_chunk", Downstream, Relay, 400, "http_request_error";
    /// The trailer section is malformed.
    BadTrailer = "bad_trailer", Downstream, Relay, 400, "http_request_error";
    /// The request body is not the base64 that its content type promises.
    BadBase64 = "bad_base64", Downstream, Relay, 400, "http_request_error";
    /// The request body exceeds its limit.
    BodyTooLarge = "body_too_large", Downstream, Relay, 413, "http_request_error";
    /// Too many requests of one HTTP/2 connection were reset.
    Http2Resets = "http2_resets", Downstream, Decode, 0, "";
    /// Too many HTTP/2 frames that move nothing.
    Http2Frames = "http2_frames", Downstream, Decode, 0, "";
    /// An encoded head of HTTP/2 is too long or has too many pieces.
    Http2Head = "http2_head", Downstream, Decode, 0, "";
    /// The heads of all requests under way on one HTTP/2 connection are too long.
    Http2Heads = "http2_heads", Downstream, Decode, 0, "";
    /// More requests under way on one HTTP/2 connection than one may have.
    Http2Streams = "http2_streams", Downstream, Decode, 0, "";
    /// The client broke the rules of HTTP/2, so that its connection ended.
    Http2Protocol = "http2_protocol", Downstream, Decode, 0, "";
    /// The client broke the rules of HTTP/2 with one request, which was reset.
    Http2Stream = "http2_stream", Downstream, Decode, 0, "";
    /// The client took too long to send the head.
    HeaderTimeout = "header_timeout", Downstream, Decode, 408, "connection_read_timeout";
    /// The client stopped sending the body or sent it too slowly.
    BodyTimeout = "body_timeout", Downstream, Relay, 408, "connection_read_timeout";
    /// The client stopped reading the response or read it too slowly.
    ClientSlow = "client_slow", Downstream, Relay, 0, "";
    /// The client closed or reset the connection before the exchange was complete.
    ClientGone = "client_gone", Downstream, Relay, 499, "";
    /// The client closed or reset an idle connection.
    ClientClosed = "client_closed", Downstream, Decode, 0, "";
    /// The client closed the connection in the middle of a head.
    HeadTruncated = "head_truncated", Downstream, Decode, 0, "";
    /// The connection never carried a request.
    NoRequest = "no_request", Downstream, Decode, 0, "";
    /// The connection was idle for longer than allowed.
    IdleTimeout = "idle_timeout", Downstream, Decode, 0, "";
    /// The response ended the connection as HTTP requires or the client asked.
    ConnectionClose = "connection_close", Downstream, Finish, 0, "";
    /// The connection carried as many requests as one may.
    RequestsMax = "requests_max", Ringway, Finish, 0, "";
    /// The client's address has as many connections as one may.
    ClientConnections = "client_connections", Ringway, Accept, 0, "";
    /// The client did not complete its first TLS message in time.
    TlsHelloTimeout = "tls_hello_timeout", Downstream, Secure, 0, "";
    /// The client did not complete the TLS handshake in time.
    TlsHandshakeTimeout = "tls_handshake_timeout", Downstream, Secure, 0, "";
    /// The client ended the connection during the TLS handshake.
    TlsClosed = "tls_closed", Downstream, Secure, 0, "";
    /// The client does not speak TLS.
    TlsNotTls = "tls_not_tls", Downstream, Secure, 0, "";
    /// No common version of TLS.
    TlsVersion = "tls_version", Downstream, Secure, 0, "";
    /// No common cipher suite, group or signature scheme.
    TlsNothingInCommon = "tls_nothing_in_common", Downstream, Secure, 0, "";
    /// No common application protocol.
    TlsProtocol = "tls_protocol", Downstream, Secure, 0, "";
    /// The client asked for a server name that has no certificate.
    TlsUnknownName = "tls_unknown_name", Downstream, Secure, 0, "";
    /// The client has to show a certificate and showed none.
    ClientCertificateMissing = "client_certificate_missing", Downstream, Secure, 0, "";
    /// The client's certificate is not of an authority that is believed here.
    ClientCertificateUntrusted = "client_certificate_untrusted", Downstream, Secure, 0, "";
    /// The client's certificate is not valid now.
    ClientCertificateExpired = "client_certificate_expired", Downstream, Secure, 0, "";
    /// The client's certificate has been revoked.
    ClientCertificateRevoked = "client_certificate_revoked", Downstream, Secure, 0, "";
    /// The client's certificate is malformed or made for another purpose.
    ClientCertificateBad = "client_certificate_bad", Downstream, Secure, 0, "";
    /// The client refused the TLS connection with an alert.
    TlsAlert = "tls_alert", Downstream, Secure, 0, "";
    /// The client's TLS messages exceed their limit.
    TlsTooLarge = "tls_too_large", Downstream, Secure, 0, "";
    /// The client sent too many TLS records without payload.
    TlsFlood = "tls_flood", Downstream, Secure, 0, "";
    /// The client does not keep to the TLS protocol.
    TlsViolation = "tls_violation", Downstream, Secure, 0, "";
    /// The connection was made for another server name.
    Misdirected = "misdirected", Downstream, Route, 421, "";
    /// The connection does not begin with the PROXY header that its peer must send.
    ProxyHeaderMissing = "proxy_header_missing", Downstream, Accept, 0, "";
    /// The PROXY header of the connection is malformed or incomplete.
    ProxyHeaderInvalid = "proxy_header_invalid", Downstream, Accept, 0, "";
    /// The PROXY header of the connection did not come in time.
    ProxyHeaderTimeout = "proxy_header_timeout", Downstream, Accept, 0, "";
    /// The peer is none of those that the listener takes PROXY headers from, and no others may connect.
    ProxyPeerRefused = "proxy_peer_refused", Ringway, Accept, 0, "";
    /// The client did not say in time where its connection should go.
    HelloTimeout = "hello_timeout", Downstream, Route, 0, "";
    /// The client's first TLS message is malformed, too long or cut off.
    HelloInvalid = "hello_invalid", Downstream, Route, 0, "";
    /// No route matches the request.
    NoRoute = "no_route", Ringway, Route, 404, "destination_not_found";
    /// The request does not say who calls.
    CredentialsMissing = "credentials_missing", Downstream, Filter, 401, "http_request_denied";
    /// The credentials of the request are not good.
    CredentialsInvalid = "credentials_invalid", Downstream, Filter, 401, "http_request_denied";
    /// The request has credentials in more than one place.
    CredentialsAmbiguous = "credentials_ambiguous", Downstream, Filter, 400, "http_request_denied";
    /// The service that decides about requests has refused this one.
    AuthRefused = "auth_refused", Downstream, Filter, 403, "http_request_denied";
    /// Passwords are taken on encrypted connections only.
    CredentialsInsecure = "credentials_insecure", Downstream, Filter, 403, "http_request_denied";
    /// Whoever has to judge the credentials of the request cannot be asked.
    AuthUnavailable = "auth_unavailable", Ringway, Filter, 503, "destination_unavailable";
    /// The caller lacks a scope that the route asks for.
    InsufficientScope = "insufficient_scope", Downstream, Filter, 403, "http_request_denied";
    /// The caller may not do this.
    Forbidden = "forbidden", Downstream, Filter, 403, "http_request_denied";
    /// The caller sends more requests than a limit allows.
    RateLimited = "rate_limited", Downstream, Filter, 429, "http_request_denied";
    /// The caller has as many requests under way as a limit allows.
    ConcurrencyLimited = "concurrency_limited", Downstream, Filter, 429, "http_request_denied";
    /// The request lacks what a limit counts by.
    LimitKeyMissing = "limit_key_missing", Downstream, Filter, 400, "http_request_denied";
    /// The page is of an origin that the route does not let in.
    OriginRefused = "origin_refused", Downstream, Filter, 403, "http_request_denied";
    /// A browser asked what pages of another origin may do.
    Preflight = "preflight", Ringway, Filter, 204, "";
    /// The route answers by itself.
    FixedResponse = "fixed_response", Ringway, Filter, 200, "";
    /// A kept response was the answer.
    CacheHit = "cache_hit", Ringway, Filter, 200, "";
    /// A kept response was the answer although it is no longer fresh.
    CacheStale = "cache_stale", Ringway, Filter, 200, "";
    /// The client wants a kept response only, and there is none.
    NotCached = "not_cached", Downstream, Filter, 504, "";
    /// The route redirects.
    Redirect = "redirect", Ringway, Filter, 308, "";
    /// The node is overloaded and takes no more requests for now.
    Overloaded = "overloaded", Ringway, Balance, 503, "destination_unavailable";
    /// The connection was closed to relieve an overloaded node.
    Shed = "shed", Ringway, Finish, 0, "";
    /// No endpoint of the upstream can take the request.
    NoEndpoint = "no_endpoint", Ringway, Balance, 503, "destination_unavailable";
    /// Too few endpoints of the upstream are healthy.
    NoHealthyEndpoint = "no_healthy_endpoint", Ringway, Balance, 503, "destination_unavailable";
    /// No name of the upstream has been resolved yet.
    NameUnresolved = "name_unresolved", Ringway, Balance, 503, "dns_error";
    /// The upstream has all the requests that it may have, and nobody else may wait.
    QueueFull = "queue_full", Ringway, Balance, 503, "destination_unavailable";
    /// The upstream had no place for the request in time.
    QueueTimeout = "queue_timeout", Ringway, Balance, 503, "destination_unavailable";
    /// The request would have had to wait too long to be answered before its deadline.
    QueueDeadline = "queue_deadline", Ringway, Balance, 503, "destination_unavailable";
    /// The upstream is as busy as it can be without becoming slow.
    ConcurrencyLimit = "concurrency_limit", Ringway, Balance, 503, "destination_unavailable";
    /// The upstream has failed so often that it is left alone for a while.
    CircuitOpen = "circuit_open", Ringway, Balance, 503, "destination_unavailable";
    /// The endpoint refused the connection.
    ConnectRefused = "connect_refused", Upstream, Lease, 502, "connection_refused";
    /// The endpoint cannot be reached.
    ConnectUnreachable = "connect_unreachable", Upstream, Lease, 502, "destination_ip_unroutable";
    /// The endpoint did not accept the connection in time.
    ConnectTimeout = "connect_timeout", Upstream, Lease, 504, "connection_timeout";
    /// The endpoint did not complete the TLS handshake in time.
    UpstreamTlsTimeout = "upstream_tls_timeout", Upstream, Secure, 504, "connection_timeout";
    /// The endpoint ended the connection during the TLS handshake.
    UpstreamTlsClosed = "upstream_tls_closed", Upstream, Secure, 502, "connection_terminated";
    /// The endpoint does not speak TLS.
    UpstreamTlsPlaintext = "upstream_tls_plaintext", Upstream, Secure, 502, "tls_protocol_error";
    /// No common version of TLS with the endpoint.
    UpstreamTlsVersion = "upstream_tls_version", Upstream, Secure, 502, "tls_protocol_error";
    /// The endpoint and we found nothing in common, or it does not keep to the TLS protocol.
    UpstreamTlsProtocol = "upstream_tls_protocol", Upstream, Secure, 502, "tls_protocol_error";
    /// The endpoint's certificate has another name.
    UpstreamTlsWrongName = "upstream_tls_wrong_name", Upstream, Secure, 502, "tls_certificate_error";
    /// The endpoint's certificate is not of an authority that is believed.
    UpstreamTlsUntrusted = "upstream_tls_untrusted", Upstream, Secure, 502, "tls_certificate_error";
    /// The endpoint's certificate is not valid now.
    UpstreamTlsExpired = "upstream_tls_expired", Upstream, Secure, 502, "tls_certificate_error";
    /// The endpoint's certificate has been revoked.
    UpstreamTlsRevoked = "upstream_tls_revoked", Upstream, Secure, 502, "tls_certificate_error";
    /// The endpoint's certificate is malformed or made for another purpose.
    UpstreamTlsBadCertificate = "upstream_tls_bad_certificate", Upstream, Secure, 502, "tls_certificate_error";
    /// The endpoint refused the TLS connection with an alert.
    UpstreamTlsRefused = "upstream_tls_refused", Upstream, Secure, 502, "tls_alert_received";
    /// No local port is free for a connection to the endpoint.
    PortsExhausted = "ports_exhausted", Ringway, Lease, 503, "connection_limit_reached";
    /// The connection cannot come from the source address that the upstream asks for.
    SourceUnavailable = "source_unavailable", Ringway, Lease, 503, "connection_limit_reached";
    /// No descriptor or memory is left for a connection to the endpoint.
    UpstreamResources = "upstream_resources", Ringway, Lease, 503, "connection_limit_reached";
    /// The endpoint ended the connection before a complete response head.
    UpstreamReset = "upstream_reset_headers", Upstream, Relay, 502, "connection_terminated";
    /// The response is not valid HTTP.
    UpstreamMalformed = "upstream_malformed", Upstream, Relay, 502, "http_protocol_error";
    /// The response head exceeds its limit.
    UpstreamHeadTooLarge = "upstream_head_too_large", Upstream, Relay, 502, "http_response_header_section_size";
    /// Too many informational responses.
    UpstreamInformational = "upstream_informational", Upstream, Relay, 502, "http_protocol_error";
    /// The endpoint did not answer in time.
    UpstreamTimeout = "upstream_timeout", Upstream, Relay, 504, "http_response_timeout";
    /// The endpoint stopped in the middle of the response body.
    UpstreamTruncated = "upstream_truncated", Upstream, Relay, 502, "http_response_incomplete";
    /// The endpoint sent nothing for too long in the middle of the response body.
    UpstreamBodyTimeout = "upstream_body_timeout", Upstream, Relay, 504, "connection_read_timeout";
    /// The exchange took longer than the route allows.
    TotalTimeout = "total_timeout", Ringway, Relay, 504, "http_response_timeout";
    /// The call took longer than its caller waits.
    CallDeadline = "call_deadline", Downstream, Relay, 504, "http_response_timeout";
    /// A tunnel was idle for longer than allowed.
    TunnelIdle = "tunnel_idle", Ringway, Relay, 0, "";
    /// A tunnel ended because both of its ends closed.
    TunnelClosed = "tunnel_closed", Downstream, Relay, 0, "";
    /// A flow was idle for longer than allowed.
    FlowIdle = "flow_idle", Ringway, Relay, 0, "";
    /// A connection that was passed through ended because both of its ends closed.
    FlowClosed = "flow_closed", Downstream, Relay, 0, "";
    /// Each datagram of the client has been answered.
    FlowAnswered = "flow_answered", Downstream, Finish, 0, "";
    /// The client's address has begun more flows than one may have.
    FlowQuota = "flow_quota", Ringway, Accept, 0, "";
    /// There are as many flows as there may be.
    FlowsMax = "flows_max", Ringway, Accept, 0, "";
    /// One side had ended, and nothing more came from the other for longer than allowed.
    HalfClosed = "half_closed", Ringway, Relay, 0, "";
    /// The endpoint reset a connection that was passed through.
    UpstreamGone = "upstream_gone", Upstream, Relay, 0, "";
    /// The listener of the connection is not in the configuration any more.
    ListenerClosed = "listener_closed", Ringway, Finish, 0, "";
    /// The process is stopping.
    Stopping = "stopping", Ringway, Finish, 503, "";
    /// An internal inconsistency; please report it.
    Internal = "internal", Ringway, Finish, 500, "proxy_internal_error";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_places_match() {
        for (place, cause) in Cause::ALL.iter().enumerate() {
            assert_eq!(*cause as usize, place);
            assert_eq!(
                Cause::ALL.iter().filter(|other| other.name() == cause.name()).count(),
                1,
                "{cause:?}"
            );
        }
    }
}
