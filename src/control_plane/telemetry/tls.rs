//! Metrics of TLS: handshakes, and how long certificates are still valid.

use super::exposition::{Exposition, Kind};
use crate::certificates::now;
use crate::node::Node;
use base::stat::Counter;
use traffic::stats::{Handshakes, TlsStats};

type Read = fn(&Handshakes) -> &Counter;

const KINDS: [(&str, &str, Read); 4] = [
    ("TLSv1.2", "no", |count| &count.full_12),
    ("TLSv1.2", "yes", |count| &count.resumed_12),
    ("TLSv1.3", "no", |count| &count.full_13),
    ("TLSv1.3", "yes", |count| &count.resumed_13),
];

pub(super) fn collect(out: &mut Exposition, node: &Node) {
    let sum =
        |read: &dyn Fn(&TlsStats) -> u64| node.stats.iter().map(|worker| read(&worker.tls)).sum::<u64>();
    let help = "TLS handshakes by side, version, whether a session was resumed, and result.";
    let mut family = out.family("ringway_tls_handshakes", Kind::Counter, help);
    for (version, resumed, read) in KINDS {
        for (side, of) in [
            ("downstream", (|tls| &tls.downstream) as fn(&TlsStats) -> &Handshakes),
            ("upstream", |tls| &tls.upstream),
        ] {
            let labels = [("side", side), ("version", version), ("resumed", resumed), ("result", "ok")];
            family.whole(&labels, sum(&|tls| read(of(tls)).get()));
        }
    }
    for (side, failed) in
        [("downstream", sum(&|tls| tls.failed.get())), ("upstream", sum(&|tls| tls.upstream_failed.get()))]
    {
        family.whole(&[("side", side), ("version", ""), ("resumed", "no"), ("result", "failed")], failed);
    }
    let help = "Clients whose earlier session could not be resumed; they got a full handshake.";
    out.family("ringway_tls_resume_refused", Kind::Counter, help)
        .whole(&[], sum(&|tls| tls.resume_refused.get()));
    certificates(out, node);
}

fn certificates(out: &mut Exposition, node: &Node) {
    let shown = node.secrets().map(|secrets| secrets.shown()).unwrap_or_default();
    let help = "Days until the certificate is not valid any more.";
    let mut family = out.family("ringway_certificate_expires_days", Kind::Gauge, help);
    for one in &shown {
        #[expect(clippy::cast_precision_loss, reason = "seconds of this millennium fit")]
        let days = (one.not_after - now()) as f64 / 86_400.0;
        family.real(&[(one.of, &one.name), ("file", &one.file)], days);
    }
    let help = "1 while what the files hold now cannot be used, and the old certificate is.";
    let mut family = out.family("ringway_certificate_renewal_failed", Kind::Gauge, help);
    for one in &shown {
        family.whole(&[(one.of, &one.name), ("file", &one.file)], u64::from(one.trouble.is_some()));
    }
}
