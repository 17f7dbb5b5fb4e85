//! The PROXY protocol: whose headers are read, and which are written.

use config::model::{ProxyMode, ProxyProtocol, ProxyVersion, SendProxy, Sender};
use traffic::proxy_protocol::{ReceiveRules, SendRules, Strictness, Version};
use traffic::source::CidrSet;

pub(super) fn receive(written: &ProxyProtocol) -> ReceiveRules {
    let networks = written.from.0.iter().filter_map(|sender| match sender {
        Sender::Network(range) => Some((range.address, range.prefix)),
        Sender::Unix => None,
    });
    ReceiveRules {
        from: CidrSet::from_cidrs(networks),
        from_unix: written.from.0.contains(&Sender::Unix),
        strictness: match written.mode {
            ProxyMode::Required => Strictness::Required,
            ProxyMode::Optional => Strictness::Optional,
            ProxyMode::Only => Strictness::Only,
        },
        timeout: written.timeout,
    }
}

pub(super) fn send(written: &SendProxy) -> SendRules {
    SendRules {
        version: match written.version {
            ProxyVersion::V1 => Version::V1,
            ProxyVersion::V2 => Version::V2,
        },
        authority: written.tlvs.authority,
        alpn: written.tlvs.alpn,
        unique_id: written.tlvs.unique_id,
        checksum: written.tlvs.crc32c,
    }
}
