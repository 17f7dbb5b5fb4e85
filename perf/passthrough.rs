//! The contenders as layer-4 proxies: one connection to the origin for each of the client's, nothing read, nothing added.

use crate::workload::Workload;

/// Where Debian puts the module that nginx has not built in.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

pub(crate) fn nginx(workload: Workload, port: u16, origin: u16) -> String {
    // The default is 16 KiB. As for HTTP, buffers of 128 KiB for what is large, one allocation of 4 KiB for what is small.
    let buffer = if workload == Workload::TcpBulk { "128k" } else { "4k" };
    format!(
        "load_module {STREAM_MODULE};
worker_processes 1; daemon off; pid nginx-{port}.pid; error_log stderr crit; worker_rlimit_nofile 20000;
events {{ worker_connections 18000; multi_accept on; }}
stream {{
  access_log off; tcp_nodelay on;
  upstream origin {{ server 127.0.0.1:{origin}; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    proxy_pass origin; proxy_connect_timeout 5s; proxy_timeout 300s; proxy_buffer_size {buffer};
  }}
}}
"
    )
}

pub(crate) fn haproxy(workload: Workload, port: u16, origin: u16, splices: bool) -> String {
    let tuned = match (workload, splices) {
        (Workload::TcpBulk, true) => "  maxpipes 512\n  tune.pipesize 262144\n",
        (Workload::TcpBulk, false) => "  tune.bufsize 65536\n",
        _ => "",
    };
    // `splice-auto` decides for each connection; in mode tcp it does splice.
    let splice = if splices { "  option splice-auto\n" } else { "" };
    format!(
        "global
  nbthread 1
  maxconn 8000
{tuned}defaults
  mode tcp
  timeout client 300s
  timeout server 300s
  timeout connect 5s
{splice}listen web
  bind 127.0.0.1:{port} backlog 4096
  server one 127.0.0.1:{origin}
"
    )
}

pub(crate) fn ringway(io: &str, port: u16, origin: u16) -> String {
    format!(
        "workers 1
io \"{io}\"
admin {{ bind \"127.0.0.1:0\" }}
access-log \"off\"
tcp \"through\" {{ bind \"127.0.0.1:{port}\"; upstream \"origin\"; limits {{ connections-per-client \"off\"; }} }}
upstream \"origin\" {{ endpoint \"127.0.0.1:{origin}\" }}
"
    )
}
