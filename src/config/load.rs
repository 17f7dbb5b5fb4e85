//! The doors: a file, a text or a command line in, a checked configuration or all of its problems out.

use crate::decode::Decoder;
use crate::document::Object;
use crate::environment::{Environment, System};
use crate::literal::{Address, Target};
use crate::model::{
    AccessLog, Action, Admin, Balance, Config, Decisions, DnsSettings, Endpoint, HashKey, Headers, Http2, Io,
    Listener, ListenerLimits, ListenerTimeouts, Matcher, Origin, Outlier, Overload, Predicates, Protocol,
    RetryBudget, Route, RouteLimits, RouteTimeouts, SPILL_OVER, Site, SiteLimits, SiteName, SiteTimeouts,
    Tcp, TcpLimits, TcpRetry, TcpTimeouts, Tier, Upstream, UpstreamLimits, UpstreamTimeouts, Workers,
};
use crate::problem::{Problem, Problems, Severity};
use crate::provenance::Provenance;
use crate::read::{Format, Reader, in_order};
use crate::validate::validate;
use std::path::Path;

/// A configuration that can be put into force.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// In the order of the text.
    pub warnings: Vec<Problem>,
}

/// Loads a file and what it includes. Reads files and environment variables, and does nothing else.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    load_from(path, &System)
}

/// Loads a file out of the given environment.
pub fn load_from(path: &Path, environment: &dyn Environment) -> Result<Loaded, Problems> {
    let mut reader = Reader::new(environment);
    let mut tree = Object::default();
    reader.file(path, &mut tree);
    finish(reader, &tree)
}

/// Loads a text; `name` is what problems call it, and where its relative paths start.
pub fn parse(
    source: &str,
    name: &str,
    format: Format,
    environment: &dyn Environment,
) -> Result<Loaded, Problems> {
    let mut reader = Reader::new(environment);
    let mut tree = Object::default();
    reader.text(source.to_owned(), Path::new(name), format, &mut tree);
    finish(reader, &tree)
}

fn finish(reader: Reader<'_>, tree: &Object) -> Result<Loaded, Problems> {
    let Reader { sources, mut problems, is_torn, .. } = reader;
    // A text that could not be read at all would only make everything else look missing.
    if is_torn {
        return Err(Problems(in_order(problems)));
    }
    let provenance = Provenance::of(tree, sources);
    let config = Decoder::new(&provenance, &mut problems).config(tree);
    let is_whole = problems.iter().all(|problem| problem.severity == Severity::Warning);
    problems.extend(validate(&config, is_whole));
    let problems = in_order(problems);
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(Problems(problems));
    }
    Ok(Loaded { config, warnings: problems })
}

impl Config {
    /// What is wrong with it as a whole; empty for every configuration that was loaded, but for its warnings.
    pub fn problems(&self) -> Vec<Problem> {
        in_order(validate(self, true))
    }
}

/// The configuration of `ringway run --listen A --upstream B`: one listener, one upstream, everything forwarded.
pub fn from_args<T: Clone + Into<Target>>(listen: &[Address], upstreams: &[T]) -> Config {
    from_args_with_tcp(listen, &[], upstreams)
}

/// As [`from_args`], for `--tcp C` beside or instead of `--listen A`: what arrives there is passed through.
pub fn from_args_with_tcp<T: Clone + Into<Target>>(
    listen: &[Address],
    tcp: &[Address],
    upstreams: &[T],
) -> Config {
    let mut config = http_from_args(listen, upstreams);
    if listen.is_empty() {
        config.listeners.clear();
        config.sites.clear();
    }
    if !tcp.is_empty() {
        config.tcp.push(Tcp {
            name: "tcp".into(),
            binds: tcp.to_vec(),
            upstream: "upstream".into(),
            routes: Vec::new(),
            socket_file: None,
            proxy_protocol: None,
            send_proxy: None,
            timeouts: TcpTimeouts::default(),
            limits: TcpLimits::default(),
            retry: TcpRetry::default(),
            origin: Origin::command_line(),
        });
    }
    config
}

fn http_from_args<T: Clone + Into<Target>>(listen: &[Address], upstreams: &[T]) -> Config {
    let origin = Origin::command_line();
    let endpoints = upstreams.iter().map(|address| Endpoint {
        address: address.clone().into(),
        weight: 1,
        tier: Tier::Primary,
        zone: None,
        origin: origin.clone(),
    });
    let route = Route {
        matcher: Matcher::Prefix("/".into()),
        priority: 0,
        methods: Vec::new(),
        predicates: Predicates::default(),
        action: Action::Upstream("upstream".into()),
        timeouts: RouteTimeouts::default(),
        limits: RouteLimits::default(),
        retry: None,
        hedge: None,
        abort_on_close: None,
        grpc_web: false,
        rewrite: None,
        headers: Headers::default(),
        cors: None,
        limit: Vec::new(),
        compress: None,
        authenticate: None,
        authorize: None,
        cache: None,
        origin: origin.clone(),
    };
    Config {
        workers: Workers::Auto,
        io: Io::Auto,
        memory: None,
        overload: Overload::default(),
        zone: None,
        admin: Admin::default(),
        access_log: AccessLog::default(),
        decisions: Decisions::default(),
        dns: DnsSettings::default(),
        listeners: vec![Listener {
            name: "listen".into(),
            binds: listen.to_vec(),
            socket_file: None,
            proxy_protocol: None,
            trusted_proxies: Vec::new(),
            unsafe_underscore_fields: false,
            abort_on_close: false,
            http2: Http2::Off,
            tls: None,
            timeouts: ListenerTimeouts::default(),
            limits: ListenerLimits::default(),
            origin: origin.clone(),
        }],
        tcp: Vec::new(),
        udp: Vec::new(),
        upstreams: vec![Upstream {
            name: "upstream".into(),
            endpoints: endpoints.collect(),
            balance: Balance::default(),
            hash_key: HashKey::default(),
            bounded_load: None,
            spill_over: SPILL_OVER,
            sticky: None,
            health: None,
            outlier: Outlier::default(),
            panic: Upstream::PANIC,
            slow_start: Upstream::SLOW_START,
            protocol: Protocol::Http1,
            source: Vec::new(),
            send_proxy: None,
            timeouts: UpstreamTimeouts::default(),
            limits: UpstreamLimits::default(),
            dns: DnsSettings::default(),
            tls: None,
            circuit_breaker: None,
            adaptive_concurrency: None,
            retry_budget: RetryBudget::default(),
            origin: origin.clone(),
        }],
        jwt: Vec::new(),
        keys: Vec::new(),
        basic: Vec::new(),
        forward_auth: Vec::new(),
        introspect: Vec::new(),
        mtls: Vec::new(),
        consumers: Vec::new(),
        limit: Vec::new(),
        caches: Vec::new(),
        sites: vec![Site {
            names: vec![SiteName::Any],
            listeners: Vec::new(),
            timeouts: SiteTimeouts::default(),
            limits: SiteLimits::default(),
            headers: Headers::default(),
            require_authentication: false,
            cors: None,
            limit: Vec::new(),
            compress: None,
            authenticate: None,
            authorize: None,
            cache: None,
            routes: vec![route],
            origin,
        }],
        provenance: Provenance::default(),
    }
}
