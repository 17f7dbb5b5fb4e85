//! The proxies that are not in Debian: Envoy, Traefik and Caddy, each with one thread, no log, and connections to the origin
//! that are kept. Go counts the cores that it may use by itself, and it is pinned to one.

use std::path::Path;

use crate::contender::{CERT, KEY};
use crate::workload::Workload;

pub(crate) const ENVOY_ARGUMENTS: [&str; 5] =
    ["--concurrency", "1", "--use-dynamic-base-id", "-l", "critical"];

/// One listener in clear text, one behind it with TLS or for HTTP/2 where the workload needs it.
pub(crate) fn envoy(workload: Workload, port: u16, origin: u16, dir: &Path) -> String {
    let filter = if workload.is_tcp() { ENVOY_TCP } else { ENVOY_HTTP };
    let secured = if workload.is_secured() { envoy_tls(dir) } else { String::new() };
    let listener = |name: &str, port: u16, tls: &str| {
        format!(
            "  - name: {name}
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    tcp_backlog_size: 4096
    filter_chains:
    - filters:
{filter}{tls}"
        )
    };
    let second = match workload.has_second_port() {
        true => listener("second", port + 1, &secured),
        false => String::new(),
    };
    format!(
        "static_resources:
  listeners:
{}{second}  clusters:
  - name: origin
    type: STATIC
    connect_timeout: 5s
    circuit_breakers: {{ thresholds: [{{ max_connections: 9000, max_pending_requests: 9000, max_requests: 9000 }}] }}
    load_assignment:
      cluster_name: origin
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {origin} }} }} }} }}] }}]
",
        listener("first", port, "")
    )
}

const ENVOY_TCP: &str = "      - name: envoy.filters.network.tcp_proxy
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: through
          cluster: origin
";

const ENVOY_HTTP: &str = "      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          use_remote_address: true
          generate_request_id: false
          route_config:
            virtual_hosts:
            - name: all
              domains: [\"*\"]
              request_headers_to_add: [{ header: { key: X-Forwarded-Host, value: \"%REQ(:AUTHORITY)%\" } }]
              routes: [{ match: { prefix: / }, route: { cluster: origin, timeout: 0s } }]
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              dynamic_stats: false
              suppress_envoy_headers: true
";

fn envoy_tls(dir: &Path) -> String {
    format!(
        "      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates:
            - certificate_chain: {{ filename: \"{}\" }}
              private_key: {{ filename: \"{}\" }}
",
        dir.join(CERT).display(),
        dir.join(KEY).display()
    )
}

/// What Traefik takes from the command line: where it listens, and where the rest stands.
pub(crate) fn traefik_arguments(port: u16, file: &str) -> Vec<String> {
    let second = port + 1;
    vec![
        format!("--entryPoints.first.address=127.0.0.1:{port}"),
        format!("--entryPoints.second.address=127.0.0.1:{second}"),
        "--entryPoints.first.transport.respondingTimeouts.idleTimeout=300s".into(),
        "--entryPoints.second.transport.respondingTimeouts.idleTimeout=300s".into(),
        "--serversTransport.maxIdleConnsPerHost=1024".into(),
        "--global.checkNewVersion=false".into(),
        "--global.sendAnonymousUsage=false".into(),
        "--log.level=FATAL".into(),
        "--providers.file.watch=false".into(),
        format!("--providers.file.filename={file}"),
    ]
}

pub(crate) fn traefik(workload: Workload, origin: u16, dir: &Path) -> String {
    if workload.is_tcp() {
        return format!(
            "tcp:
  routers: {{ through: {{ entryPoints: [first], rule: \"HostSNI(`*`)\", service: origin }} }}
  services: {{ origin: {{ loadBalancer: {{ servers: [{{ address: \"127.0.0.1:{origin}\" }}] }} }} }}
"
        );
    }
    let (cert, key) = (dir.join(CERT), dir.join(KEY));
    let (cert, key) = (cert.display(), key.display());
    let (second, certificates) = match workload.is_secured() {
        true => {
            (", tls: {}", format!("tls:\n  certificates: [{{ certFile: \"{cert}\", keyFile: \"{key}\" }}]\n"))
        }
        false => ("", String::new()),
    };
    format!(
        "http:
  routers:
    first: {{ entryPoints: [first], rule: \"PathPrefix(`/`)\", service: origin }}
    second: {{ entryPoints: [second], rule: \"PathPrefix(`/`)\", service: origin{second} }}
  services: {{ origin: {{ loadBalancer: {{ servers: [{{ url: \"http://127.0.0.1:{origin}\" }}] }} }} }}
{certificates}"
    )
}

pub(crate) fn caddy(workload: Workload, port: u16, origin: u16, dir: &Path) -> String {
    let site = |address: String, tls: String| {
        format!(
            "{address} {{
  bind 127.0.0.1
  {tls}reverse_proxy 127.0.0.1:{origin} {{
    transport http {{
      keepalive 300s
      keepalive_idle_conns_per_host 1024
    }}
  }}
}}
"
        )
    };
    let second = match (workload.has_second_port(), workload.is_secured()) {
        (false, _) => String::new(),
        (true, false) => site(format!("http://:{}", port + 1), String::new()),
        (true, true) => site(
            format!("https://:{}", port + 1),
            format!("tls {} {}\n  ", dir.join(CERT).display(), dir.join(KEY).display()),
        ),
    };
    format!(
        "{{
  admin off
  auto_https off
  persist_config off
  storage file_system {}
  log {{
    output discard
  }}
  servers {{
    protocols h1 h2 h2c
    timeouts {{
      idle 300s
    }}
  }}
}}
{}{second}",
        dir.join("caddy").display(),
        site(format!("http://:{port}"), String::new())
    )
}
