//! Health checks, and what traffic says about health.

use super::{Decoder, Scope};
use crate::document::{Literal as Raw, Object};
use crate::literal::{Bound, Literal, Misread};
use crate::model::{
    CheckMethod, ErrorsInARow, GrpcCheck, Health, HttpCheck, Outlier, Payload, StatusRange, StatusSet,
    SuccessRate, Switch, TcpCheck, TlsCheck, UdpCheck,
};
use crate::problem::Code;

impl Decoder<'_> {
    pub(super) fn health(&mut self, scope: &Scope<'_>) -> Option<Health> {
        let mut written = ["http", "tcp", "tls", "grpc", "udp"]
            .into_iter()
            .filter_map(|word| scope.member(word).map(|check| (word, check)));
        let Some((word, check)) = written.next() else {
            self.missing(
                scope,
                "\"health\" does not say how",
                "add http \"/healthz\", tcp, tls, grpc or udp",
            );
            return None;
        };
        if let Some((_, second)) = written.next() {
            let hint = Some("keep one of http, tcp, tls, grpc and udp".to_owned());
            self.error(Code::Contradiction, second.object.span, "\"health\" says more than one way", hint);
            return None;
        }
        Some(match word {
            "http" => Health::Http(self.http_check(&check)),
            "tcp" => Health::Tcp(self.schedule(&check)),
            "tls" => Health::Tls(self.tls_check(&check)),
            "grpc" => Health::Grpc(self.grpc_check(&check)),
            _ => Health::Udp(self.udp_check(&check)),
        })
    }

    fn http_check(&mut self, scope: &Scope<'_>) -> HttpCheck {
        let path = match scope.scalar("path") {
            Some(scalar) => self.as_text("path", scalar).unwrap_or_default(),
            None => {
                self.missing(scope, "the check has no path", "write http \"/healthz\"");
                String::new()
            }
        };
        let plain = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if let (false, Some(scalar)) = (plain, scope.scalar("path")) {
            self.wrong("path", scalar, "a path that starts with \"/\", without spaces");
        }
        HttpCheck {
            path,
            method: self.literal_or(scope, "method", CheckMethod::Get),
            host: self.host(scope, "host"),
            expect: self.literal_or(scope, "expect", StatusSet::default()),
            body: self.text(scope, "body"),
            headers: self.pairs(scope, "headers"),
            schedule: self.schedule(scope),
        }
    }

    fn tls_check(&mut self, scope: &Scope<'_>) -> TlsCheck {
        TlsCheck {
            server_name: self.server_name(scope, "server-name"),
            ca: self.file_path(scope, "ca"),
            insecure: self.flag(scope, "insecure"),
            schedule: self.schedule(scope),
        }
    }

    /// A host name without a port.
    pub(super) fn server_name(&mut self, scope: &Scope<'_>, key: &str) -> Option<String> {
        let name = self.host(scope, key)?;
        if let (true, Some(scalar)) = (name.contains([':', '[']), scope.scalar(key)) {
            self.wrong(key, scalar, "a name such as \"api.internal\"");
            return None;
        }
        Some(name)
    }

    pub(super) fn file_path(&mut self, scope: &Scope<'_>, key: &str) -> Option<String> {
        let path = self.text(scope, key)?;
        if let (true, Some(scalar)) = (path.is_empty() || path.contains('\0'), scope.scalar(key)) {
            self.wrong(key, scalar, "the path of a file");
            return None;
        }
        Some(path)
    }

    fn grpc_check(&mut self, scope: &Scope<'_>) -> GrpcCheck {
        let service = self.text(scope, "service").unwrap_or_default();
        if let (true, Some(scalar)) = (service.len() > SERVICE_BYTES_MAX, scope.scalar("service")) {
            self.wrong("service", scalar, "the name of a service, at most 256 bytes");
        }
        GrpcCheck { service, host: self.host(scope, "host"), schedule: self.schedule(scope) }
    }

    fn udp_check(&mut self, scope: &Scope<'_>) -> UdpCheck {
        if !scope.has("send") {
            let hint = "write udp send=\"hex:…\": silence says nothing about a service without connections";
            self.missing(scope, "the check has nothing to send", hint);
        }
        UdpCheck {
            send: self.literal(scope, "send").unwrap_or_else(|| Payload(Vec::new())),
            expect: self.literal(scope, "expect"),
            schedule: self.schedule(scope),
        }
    }

    fn schedule(&mut self, scope: &Scope<'_>) -> TcpCheck {
        let default = TcpCheck::default();
        TcpCheck {
            every: self.positive(scope, "every", default.every),
            timeout: self.positive(scope, "timeout", default.timeout),
            rise: self.number(scope, "rise", 1..=1000, default.rise),
            fall: self.number(scope, "fall", 1..=1000, default.fall),
        }
    }

    pub(super) fn outlier(&mut self, scope: &Scope<'_>) -> Outlier {
        let default = Outlier::default();
        let nothing = Object::default();
        let rate = scope.member("success-rate").unwrap_or_else(|| Scope::new(&nothing, String::new()));
        Outlier {
            mode: self.literal_or(scope, "mode", default.mode),
            consecutive_errors: self.errors_in_a_row(scope).unwrap_or(default.consecutive_errors),
            eject_for: self.positive(scope, "eject-for", default.eject_for),
            eject_longest: self.positive(scope, "eject-longest", default.eject_longest),
            max_ejected: self.literal_or(scope, "max-ejected", default.max_ejected),
            success_rate: self.success_rate(&rate),
        }
    }

    fn errors_in_a_row(&mut self, scope: &Scope<'_>) -> Option<ErrorsInARow> {
        let scalar = scope.scalar("consecutive-errors")?;
        let bound = match &scalar.value {
            Raw::Text(text) if text == "off" => Bound::Off,
            Raw::Text(_) if scalar.reference.is_none() => {
                self.wrong("consecutive-errors", scalar, "a whole number from 1 to 1000, or \"off\"");
                return None;
            }
            _ => Bound::At(self.as_number("consecutive-errors", scalar, 1u16..=1000)?),
        };
        Some(ErrorsInARow(bound))
    }

    fn success_rate(&mut self, scope: &Scope<'_>) -> SuccessRate {
        let default = SuccessRate::default();
        SuccessRate {
            mode: self.literal_or(scope, "mode", Switch::On),
            deviation: self.literal_or(scope, "deviation", default.deviation),
            every: self.positive(scope, "every", default.every),
            requests: self.number(scope, "requests", 1..=1_000_000, default.requests),
            endpoints: self.number(scope, "endpoints", 2..=1000, default.endpoints),
        }
    }
}

/// Longer names of services are a mistake.
const SERVICE_BYTES_MAX: usize = 256;

impl Literal for StatusSet {
    const EXPECTED: &'static str = "statuses such as \"200\", \"200-399\" or \"200,204\"";

    fn read(text: &str) -> Result<Self, Misread> {
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let status = |text: &str| {
                let valid = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
                text.parse::<u16>()
                    .ok()
                    .filter(|status| valid && (100..=599).contains(status))
                    .ok_or(Misread::Form)
            };
            let (first, last) = (status(first)?, status(last)?);
            if first > last {
                return Err(Misread::Because(format!("the range {part} is empty")));
            }
            ranges.push(StatusRange { first, last });
        }
        Ok(StatusSet(ranges))
    }
}
