//! The process itself.

use super::{Decoder, Scope};
use crate::document::Literal as Raw;
use crate::model::{
    AccessLog, AccessLogFormat, AccessLogTarget, Admin, Config, Decisions, Io, Overload, Workers,
};
use crate::problem::Code;
use std::num::NonZeroU16;

impl Decoder<'_> {
    pub(super) fn top(&mut self, scope: &Scope<'_>) -> Config {
        Config {
            workers: self.workers(scope),
            io: self.literal_or(scope, "io", Io::Auto),
            memory: self.memory(scope),
            overload: self.literal_or(scope, "overload", Overload::On),
            zone: self.zone(scope),
            admin: scope.member("admin").map(|admin| self.admin(&admin)).unwrap_or_default(),
            access_log: scope.member("access-log").map(|log| self.access_log(&log)).unwrap_or_default(),
            decisions: scope.member("decisions").map(|one| self.decisions(&one)).unwrap_or_default(),
            dns: self.dns(scope),
            listeners: scope.members("listeners").iter().map(|listener| self.listener(listener)).collect(),
            tcp: scope.members("tcp").iter().map(|tcp| self.tcp(tcp)).collect(),
            udp: scope.members("udp").iter().map(|udp| self.udp(udp)).collect(),
            upstreams: scope.members("upstreams").iter().map(|upstream| self.upstream(upstream)).collect(),
            jwt: scope.members("jwt").iter().map(|jwt| self.jwt(jwt)).collect(),
            keys: scope.members("keys").iter().map(|keys| self.keys(keys)).collect(),
            basic: scope.members("basic").iter().map(|basic| self.basic(basic)).collect(),
            forward_auth: scope.members("forward-auth").iter().map(|one| self.forward_auth(one)).collect(),
            introspect: scope.members("introspect").iter().map(|one| self.introspect(one)).collect(),
            mtls: scope.members("mtls").iter().map(|one| self.mtls(one)).collect(),
            consumers: scope.members("consumers").iter().map(|one| self.consumer(one)).collect(),
            limit: scope.members("limit").iter().map(|limit| self.limit(limit)).collect(),
            caches: scope.members("caches").iter().map(|cache| self.cache(cache)).collect(),
            sites: scope.members("sites").iter().map(|site| self.site(site)).collect(),
            provenance: self.provenance.clone(),
        }
    }

    fn workers(&mut self, scope: &Scope<'_>) -> Workers {
        let Some(scalar) = scope.scalar("workers") else { return Workers::Auto };
        match &scalar.value {
            Raw::Text(text) if text == "auto" => Workers::Auto,
            Raw::Text(_) if scalar.reference.is_none() => {
                self.wrong("workers", scalar, "\"auto\" or a whole number from 1 to 1024");
                Workers::Auto
            }
            _ => {
                let count = self.as_number("workers", scalar, 1u16..=1024);
                count.and_then(NonZeroU16::new).map_or(Workers::Auto, Workers::Count)
            }
        }
    }

    fn admin(&mut self, scope: &Scope<'_>) -> Admin {
        if !scope.has("bind") {
            self.missing(
                scope,
                "\"admin\" has no address",
                "add bind \"127.0.0.1:9901\", or remove the node",
            );
        }
        Admin { binds: self.literals(scope, "bind"), origin: self.origin(scope) }
    }

    fn decisions(&mut self, scope: &Scope<'_>) -> Decisions {
        let defaults = Decisions::default();
        let memory = self.literal_or(scope, "memory", defaults.memory);
        let fits = memory.0 == 0 || (Decisions::MEMORY_MIN..=Decisions::MEMORY_MAX).contains(&memory);
        if !fits && let Some(scalar) = scope.scalar("memory") {
            let what = format!("\"memory\" cannot be {}", super::shown(scalar));
            let hint = format!("expected {} to {}, or 0B", Decisions::MEMORY_MIN, Decisions::MEMORY_MAX);
            self.error(Code::Value, scalar.span, what, Some(hint));
        }
        Decisions { memory, sample: self.literal_or(scope, "sample", defaults.sample) }
    }

    fn access_log(&mut self, scope: &Scope<'_>) -> AccessLog {
        let mut targets = Vec::new();
        if let Some(scalar) = scope.scalar("to") {
            match &scalar.value {
                Raw::Text(text) if text == "off" => targets.push(AccessLogTarget::Off),
                Raw::Text(text) if text == "stdout" => targets.push(AccessLogTarget::Stdout),
                Raw::Text(text) if text == "syslog" => {
                    self.error(
                        Code::Unsupported,
                        scalar.span,
                        "\"syslog\" is not supported by this version",
                        None,
                    );
                    targets.push(AccessLogTarget::Off);
                }
                _ => {
                    self.wrong("access-log", scalar, "\"off\" or \"stdout\", or have a child file \"path\"");
                    targets.push(AccessLogTarget::Off);
                }
            }
        }
        for (key, target) in [("off", AccessLogTarget::Off), ("stdout", AccessLogTarget::Stdout)] {
            if self.flag(scope, key) {
                targets.push(target);
            }
        }
        match self.text(scope, "file") {
            Some(path) if path.is_empty() || path.contains('\0') => {
                if let Some(scalar) = scope.scalar("file") {
                    self.wrong("file", scalar, "the path of a file");
                }
            }
            Some(path) => targets.push(AccessLogTarget::File(path.into())),
            None => {}
        }
        if targets.is_empty() && !scope.has("file") {
            self.missing(scope, "\"access-log\" does not say where to", "add file \"path\", stdout or off");
        } else if targets.len() > 1 {
            let hint = Some("keep one of file, stdout and off".to_owned());
            self.error(
                Code::Contradiction,
                scope.object.span,
                "\"access-log\" says more than one place",
                hint,
            );
        }
        AccessLog {
            target: targets.into_iter().next().unwrap_or_default(),
            format: self.literal_or(scope, "format", AccessLogFormat::Json),
            origin: self.origin(scope),
        }
    }
}
