//! Which words stand where, in both encodings.
//!
//! One table per node. KDL names a child by `word` and repeats it; JSON has one member `member`, a list where the child
//! may repeat. Arguments and properties of a KDL node are members of its JSON object.

/// What may stand in a node.
#[derive(Debug)]
pub(crate) struct Node {
    /// Names of the leading arguments, which may be left out from the back.
    pub(crate) args: &'static [&'static str],
    /// Name of the list that takes all arguments, instead of `args`.
    pub(crate) rest: Option<&'static str>,
    pub(crate) props: &'static [&'static str],
    pub(crate) children: &'static [Child],
    /// Words that a later version understands here.
    pub(crate) later: &'static [&'static str],
}

/// A child node.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) word: &'static str,
    pub(crate) member: &'static str,
    pub(crate) kind: Kind,
}

/// What a child node becomes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// One argument; stands once.
    Value,
    /// Any number of arguments; may repeat.
    Values,
    /// No argument or a boolean; stands once.
    Flag,
    /// An object; stands once.
    One(&'static Node),
    /// An object; may repeat.
    Many(&'static Node),
}

impl Node {
    pub(crate) fn child(&self, word: &str) -> Option<&'static Child> {
        self.children.iter().find(|child| child.word == word)
    }

    pub(crate) fn member(&self, member: &str) -> Option<&'static Child> {
        self.children.iter().find(|child| child.member == member)
    }

    pub(crate) fn prop(&self, name: &str) -> Option<&'static str> {
        self.props.iter().copied().find(|prop| *prop == name)
    }

    pub(crate) fn arg(&self, name: &str) -> Option<&'static str> {
        self.args.iter().copied().find(|arg| *arg == name)
    }

    /// Whether a later version understands the word here.
    pub(crate) fn is_later(&self, word: &str) -> bool {
        self.later.contains(&word)
    }
}

const fn value(word: &'static str) -> Child {
    Child { word, member: word, kind: Kind::Value }
}

const fn values(word: &'static str) -> Child {
    Child { word, member: word, kind: Kind::Values }
}

const fn flag(word: &'static str) -> Child {
    Child { word, member: word, kind: Kind::Flag }
}

const fn one(word: &'static str, node: &'static Node) -> Child {
    Child { word, member: word, kind: Kind::One(node) }
}

const fn many(word: &'static str, member: &'static str, node: &'static Node) -> Child {
    Child { word, member, kind: Kind::Many(node) }
}

const EMPTY: Node = Node { args: &[], rest: None, props: &[], children: &[], later: &[] };

/// The file itself.
pub(crate) static ROOT: Node = Node {
    children: &[
        value("workers"),
        value("io"),
        value("memory"),
        value("overload"),
        value("zone"),
        one("admin", &ADMIN),
        one("access-log", &ACCESS_LOG),
        one("decisions", &DECISIONS),
        one("dns", &DNS),
        many("listener", "listeners", &LISTENER),
        many("tcp", "tcp", &TCP),
        many("udp", "udp", &UDP),
        many("upstream", "upstreams", &UPSTREAM),
        many("jwt", "jwt", &JWT),
        many("keys", "keys", &KEYS),
        many("basic", "basic", &BASIC),
        many("forward-auth", "forward-auth", &FORWARD_AUTH),
        many("introspect", "introspect", &INTROSPECT),
        many("mtls", "mtls", &MTLS),
        many("consumer", "consumers", &CONSUMER),
        many("limit", "limit", &LIMIT),
        many("cache", "caches", &CACHE),
        many("site", "sites", &SITE),
    ],
    later: &["store", "oidc", "acme", "discovery", "tracing"],
    ..EMPTY
};

static ADMIN: Node = Node { children: &[values("bind")], later: &["tls", "token", "tokens"], ..EMPTY };

static ACCESS_LOG: Node = Node {
    args: &["to"],
    children: &[value("file"), flag("stdout"), flag("off"), value("format")],
    later: &["syslog", "sample", "fields"],
    ..EMPTY
};

static DECISIONS: Node = Node { children: &[value("memory"), value("sample")], ..EMPTY };

static LISTENER: Node = Node {
    args: &["name"],
    children: &[
        values("bind"),
        one("socket-file", &SOCKET_FILE),
        one("proxy-protocol", &PROXY_PROTOCOL),
        values("trusted-proxies"),
        flag("unsafe-underscore-fields"),
        flag("abort-on-close"),
        value("http2"),
        one("tls", &LISTENER_TLS),
        one("timeouts", &LISTENER_TIMEOUTS),
        one("limits", &LISTENER_LIMITS),
    ],
    later: &["http3", "headers", "limit"],
    ..EMPTY
};

static LISTENER_TLS: Node = Node {
    children: &[
        many("certificate", "certificates", &CERTIFICATE),
        one("client-auth", &CLIENT_AUTH),
        value("min-version"),
        value("unknown-name"),
    ],
    later: &["ciphers", "early-data", "acme"],
    ..EMPTY
};

static CERTIFICATE: Node = Node { props: &["cert", "key", "ocsp"], ..EMPTY };

static CLIENT_AUTH: Node = Node { args: &["mode"], props: &["ca", "crl"], ..EMPTY };

static UPSTREAM_TLS: Node = Node {
    children: &[
        values("ca"),
        value("server-name"),
        one("client-certificate", &CERTIFICATE),
        flag("insecure"),
    ],
    later: &["crl", "pin"],
    ..EMPTY
};

static SOCKET_FILE: Node = Node { props: &["mode", "owner", "group"], ..EMPTY };

static PROXY_PROTOCOL: Node = Node { args: &["mode"], props: &["from", "timeout"], ..EMPTY };

static SEND_PROXY: Node = Node { args: &["version"], props: &["tlvs", "checks"], ..EMPTY };

static LISTENER_TIMEOUTS: Node = Node {
    children: &[
        value("handshake"),
        value("header"),
        value("keep-alive"),
        value("http2-idle"),
        value("body-idle"),
        value("body-rate"),
        value("send-idle"),
        value("send-rate"),
        value("tunnel-idle"),
    ],
    ..EMPTY
};

static LISTENER_LIMITS: Node = Node {
    children: &[
        value("connections"),
        value("connections-per-client"),
        value("requests-per-connection"),
        value("streams"),
        value("header"),
        value("header-line"),
        value("header-fields"),
        value("uri"),
        value("body"),
    ],
    ..EMPTY
};

static TCP: Node = Node {
    args: &["name"],
    children: &[
        values("bind"),
        value("upstream"),
        many("route", "routes", &TCP_ROUTE),
        one("socket-file", &SOCKET_FILE),
        one("proxy-protocol", &PROXY_PROTOCOL),
        one("send-proxy", &SEND_PROXY),
        one("timeouts", &TCP_TIMEOUTS),
        one("limits", &TCP_LIMITS),
        one("retry", &TCP_RETRY),
    ],
    later: &["tls"],
    ..EMPTY
};

static TCP_ROUTE: Node = Node { props: &["sni", "alpn", "protocol", "upstream"], ..EMPTY };

static TCP_TIMEOUTS: Node = Node {
    children: &[value("connect"), value("idle"), value("half-closed"), value("hello"), value("silence")],
    ..EMPTY
};

static UDP: Node = Node {
    args: &["name"],
    children: &[
        values("bind"),
        value("upstream"),
        value("flow-idle"),
        value("responses"),
        value("reply-ratio"),
        one("limits", &UDP_LIMITS),
    ],
    later: &["proxy-protocol", "send-proxy", "route"],
    ..EMPTY
};

static UDP_LIMITS: Node = Node { children: &[value("flows"), value("flows-per-client")], ..EMPTY };

static TCP_LIMITS: Node =
    Node { children: &[value("connections"), value("connections-per-client")], ..EMPTY };

static TCP_RETRY: Node = Node { props: &["attempts"], ..EMPTY };

static UPSTREAM: Node = Node {
    args: &["name"],
    children: &[
        many("endpoint", "endpoints", &ENDPOINT),
        value("balance"),
        value("hash-key"),
        value("bounded-load"),
        value("spill-over"),
        one("sticky", &STICKY),
        one("health", &HEALTH),
        one("outlier", &OUTLIER),
        value("panic"),
        value("slow-start"),
        value("protocol"),
        one("tls", &UPSTREAM_TLS),
        values("source"),
        one("send-proxy", &SEND_PROXY),
        one("timeouts", &UPSTREAM_TIMEOUTS),
        one("limits", &UPSTREAM_LIMITS),
        one("dns", &DNS),
        one("circuit-breaker", &CIRCUIT_BREAKER),
        one("adaptive-concurrency", &ADAPTIVE_CONCURRENCY),
        one("retry-budget", &RETRY_BUDGET),
    ],
    later: &["discovery"],
    ..EMPTY
};

static DNS: Node = Node {
    children: &[values("servers"), value("ttl-min"), value("ttl-max"), value("timeout"), value("addresses")],
    ..EMPTY
};

static ENDPOINT: Node = Node { args: &["address"], props: &["weight", "tier", "zone"], ..EMPTY };

static STICKY: Node = Node {
    children: &[
        value("cookie"),
        value("max-age"),
        value("path"),
        value("domain"),
        flag("secure"),
        flag("http-only"),
        value("same-site"),
        value("secret"),
    ],
    ..EMPTY
};

static HEALTH: Node = Node {
    children: &[
        one("http", &HTTP_CHECK),
        one("tcp", &TCP_CHECK),
        one("tls", &TLS_CHECK),
        one("grpc", &GRPC_CHECK),
        one("udp", &UDP_CHECK),
    ],
    ..EMPTY
};

static HTTP_CHECK: Node = Node {
    args: &["path"],
    props: &["every", "timeout", "rise", "fall", "method", "expect", "host", "body"],
    children: &[many("header", "headers", &PAIR)],
    ..EMPTY
};

static TCP_CHECK: Node = Node { props: &["every", "timeout", "rise", "fall"], ..EMPTY };

static UDP_CHECK: Node = Node { props: &["send", "expect", "every", "timeout", "rise", "fall"], ..EMPTY };

static TLS_CHECK: Node =
    Node { props: &["every", "timeout", "rise", "fall", "server-name", "ca", "insecure"], ..EMPTY };

static GRPC_CHECK: Node =
    Node { props: &["every", "timeout", "rise", "fall", "service", "host"], later: &["tls"], ..EMPTY };

static OUTLIER: Node = Node {
    args: &["mode"],
    children: &[
        value("consecutive-errors"),
        value("eject-for"),
        value("eject-longest"),
        value("max-ejected"),
        one("success-rate", &SUCCESS_RATE),
    ],
    ..EMPTY
};

static SUCCESS_RATE: Node =
    Node { args: &["mode"], props: &["deviation", "every", "requests", "endpoints"], ..EMPTY };

static UPSTREAM_TIMEOUTS: Node = Node {
    children: &[
        value("connect"),
        value("handshake"),
        value("response-header"),
        value("idle"),
        value("keep-alive"),
    ],
    ..EMPTY
};

static UPSTREAM_LIMITS: Node = Node {
    children: &[
        value("connections"),
        value("requests"),
        value("endpoint-connections"),
        value("endpoint-requests"),
        value("queue"),
        value("queue-timeout"),
    ],
    later: &["idle-connections"],
    ..EMPTY
};

static CIRCUIT_BREAKER: Node = Node {
    children: &[
        value("scope"),
        value("error-rate"),
        value("requests"),
        value("window"),
        value("open-for"),
        value("probes"),
    ],
    ..EMPTY
};

static ADAPTIVE_CONCURRENCY: Node = Node { children: &[value("min"), value("max")], ..EMPTY };

static RETRY_BUDGET: Node = Node { children: &[value("ratio"), value("per-second")], ..EMPTY };

static SITE: Node = Node {
    rest: Some("names"),
    children: &[
        values("listeners"),
        one("timeouts", &SITE_TIMEOUTS),
        one("limits", &BODY_LIMIT),
        one("headers", &HEADERS),
        flag("require-authentication"),
        one("cors", &CORS),
        one("compress", &COMPRESS),
        one("authenticate", &AUTHENTICATE),
        one("authorize", &AUTHORIZE),
        many("limit", "limit", &LIMIT),
        value("cache"),
        many("route", "routes", &ROUTE),
    ],
    later: POLICIES,
    ..EMPTY
};

static JWT: Node = Node {
    args: &["name"],
    children: &[
        value("issuer"),
        values("audience"),
        values("algorithms"),
        values("secret"),
        values("public-key"),
        value("jwks"),
        one("fetch", &JWKS_FETCH),
        value("leeway"),
        value("max-lifetime"),
        flag("allow-without-expiry"),
        value("type"),
        value("subject-claim"),
        value("groups-claim"),
        many("claim-header", "claim-headers", &CLAIM_HEADER),
    ],
    ..EMPTY
};

static JWKS_FETCH: Node = Node {
    children: &[
        value("ca"),
        value("timeout"),
        value("cooldown"),
        value("refresh"),
        value("max-stale"),
        flag("allow-private"),
        flag("require-at-start"),
    ],
    ..EMPTY
};

static CLAIM_HEADER: Node = Node { args: &["claim", "header"], ..EMPTY };

static KEYS: Node = Node { args: &["name"], children: &[value("file"), value("pepper")], ..EMPTY };

static BASIC: Node = Node {
    args: &["name"],
    children: &[
        value("file"),
        value("realm"),
        value("remember"),
        flag("allow-plain"),
        value("waiting"),
        value("timeout"),
    ],
    ..EMPTY
};

static FORWARD_AUTH: Node = Node {
    args: &["name"],
    children: &[
        value("url"),
        value("ca"),
        value("timeout"),
        value("waiting"),
        value("remember"),
        value("stale"),
        values("request-headers"),
        values("identity"),
        values("response-headers"),
        value("subject-header"),
        value("groups-header"),
        value("same-for"),
        value("on-error"),
    ],
    ..EMPTY
};

static INTROSPECT: Node = Node {
    args: &["name"],
    children: &[
        value("url"),
        value("ca"),
        value("timeout"),
        value("waiting"),
        value("remember"),
        value("stale"),
        value("client-id"),
        value("client-secret"),
        value("issuer"),
        values("audience"),
        value("subject-claim"),
        value("groups-claim"),
    ],
    ..EMPTY
};

static MTLS: Node = Node { args: &["name"], children: &[value("by"), flag("consumers-only")], ..EMPTY };

static CONSUMER: Node = Node {
    args: &["name"],
    children: &[values("groups"), value("tier"), many("credential", "credentials", &CREDENTIAL)],
    ..EMPTY
};

static CREDENTIAL: Node = Node {
    props: &["jwt", "basic", "forward-auth", "introspect", "mtls", "subject"],
    later: &["hmac"],
    ..EMPTY
};

static COMPRESS: Node =
    Node { rest: Some("codings"), children: &[values("types"), value("min-size"), value("level")], ..EMPTY };

static CORS: Node = Node {
    args: &["mode"],
    children: &[
        values("origins"),
        values("methods"),
        values("headers"),
        values("expose"),
        value("max-age"),
        flag("credentials"),
        flag("private-network"),
        flag("refuse-others"),
    ],
    ..EMPTY
};

static AUTHENTICATE: Node = Node {
    args: &["mode"],
    children: &[
        one("any-of", &METHODS),
        one("all-of", &METHODS),
        flag("optional"),
        flag("forward-credentials"),
    ],
    later: &["jwt", "keys", "basic", "forward-auth", "mtls", "hmac", "oidc", "try-all"],
    ..EMPTY
};

static METHODS: Node = Node {
    children: &[
        many("jwt", "jwt", &METHOD),
        many("keys", "keys", &METHOD),
        many("basic", "basic", &NAMED_METHOD),
        many("introspect", "introspect", &METHOD),
        many("forward-auth", "forward-auth", &NAMED_METHOD),
        many("mtls", "mtls", &NAMED_METHOD),
    ],
    later: &["hmac", "oidc"],
    ..EMPTY
};

static METHOD: Node = Node { args: &["name"], props: &["header", "query"], later: &["cookie"], ..EMPTY };

/// A method whose credential has one place only.
static NAMED_METHOD: Node = Node { args: &["name"], ..EMPTY };

static AUTHORIZE: Node = Node {
    children: &[
        values("scope"),
        values("group"),
        many("claim", "claims", &CLAIM_MATCH),
        many("allow", "allow", &ACCESS_RULE),
        many("deny", "deny", &ACCESS_RULE),
    ],
    ..EMPTY
};

static CLAIM_MATCH: Node = Node { args: &["name", "value"], ..EMPTY };

static ACCESS_RULE: Node = Node { props: &["source", "method", "group", "consumer"], ..EMPTY };

static LIMIT: Node = Node {
    args: &["name"],
    props: &[
        "rate",
        "concurrent",
        "burst",
        "window",
        "key",
        "ipv4-prefix",
        "ipv6-prefix",
        "absent",
        "stage",
        "cost",
        "keys",
        "mode",
        "fields",
    ],
    later: &["store"],
    ..EMPTY
};

static SITE_TIMEOUTS: Node = Node { children: &[value("total"), value("per-try")], ..EMPTY };

static BODY_LIMIT: Node = Node { children: &[value("body")], ..EMPTY };

/// Child nodes of a site or a route that only a later version enforces. They must never pass unnoticed: whoever wrote
/// them believes that they guard something.
const POLICIES: &[&str] = &[
    "jwt",
    "keys",
    "basic",
    "forward-auth",
    "mtls",
    "hmac",
    "oidc",
    "quota",
    "decompress",
    "validate",
    "transform",
    "mirror",
    "fault",
    "tls",
    "acme",
    "grpc",
    "buffer",
    "sticky",
    "websocket",
];

static ROUTE: Node = Node {
    args: &["prefix"],
    props: &["exact", "regex", "upstream", "priority"],
    children: &[
        values("methods"),
        one("match", &MATCH),
        one("split", &SPLIT),
        one("respond", &RESPOND),
        one("redirect", &REDIRECT),
        one("timeouts", &ROUTE_TIMEOUTS),
        one("limits", &BODY_LIMIT),
        one("retry", &RETRY),
        one("hedge", &HEDGE),
        flag("abort-on-close"),
        flag("grpc-web"),
        one("rewrite", &REWRITE),
        one("headers", &HEADERS),
        one("cors", &CORS),
        one("compress", &COMPRESS),
        one("authenticate", &AUTHENTICATE),
        one("authorize", &AUTHORIZE),
        many("limit", "limit", &LIMIT),
        value("cache"),
    ],
    later: POLICIES,
    ..EMPTY
};

static CACHE: Node = Node { args: &["name"], children: &[value("memory")], later: &["disk"], ..EMPTY };

static MATCH: Node = Node {
    children: &[
        many("header", "headers", &NAME_MATCH),
        many("query", "query", &NAME_MATCH),
        many("cookie", "cookies", &NAME_MATCH),
        values("source"),
    ],
    later: &["sni", "claim", "body", "grpc"],
    ..EMPTY
};

static NAME_MATCH: Node = Node { args: &["name", "value"], later: &["regex", "prefix"], ..EMPTY };

static SPLIT: Node = Node { children: &[many("upstream", "upstreams", &SHARE)], ..EMPTY };

static SHARE: Node = Node { args: &["name", "weight"], ..EMPTY };

static RESPOND: Node =
    Node { args: &["status"], props: &["body"], children: &[many("header", "headers", &PAIR)], ..EMPTY };

static REDIRECT: Node = Node { args: &["status"], props: &["to"], ..EMPTY };

static ROUTE_TIMEOUTS: Node =
    Node { children: &[value("total"), value("per-try"), value("response-header")], ..EMPTY };

static RETRY: Node = Node {
    props: &["attempts", "on", "idempotency-key"],
    later: &["budget", "budget-floor", "replay", "pause"],
    ..EMPTY
};

static HEDGE: Node = Node { props: &["after", "max"], ..EMPTY };

static REWRITE: Node = Node {
    children: &[value("strip-prefix"), value("prefix"), value("path"), value("host")],
    later: &["regex", "query"],
    ..EMPTY
};

static HEADERS: Node = Node { children: &[one("request", &EDITS), one("response", &EDITS)], ..EMPTY };

static EDITS: Node =
    Node { children: &[many("set", "set", &PAIR), many("add", "add", &PAIR), values("remove")], ..EMPTY };

static PAIR: Node = Node { args: &["name", "value"], ..EMPTY };
