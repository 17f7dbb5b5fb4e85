//! What both heads say about their connection: persistence and the wish to change the protocol.

use super::bytes::{is_token, trim};
use super::fields::Facts;
use crate::http::{Span, Version};

/// RFC 9112 §9.3: HTTP/1.1 persists unless told otherwise, HTTP/1.0 only when asked.
pub(super) fn wants_to_persist(version: Version, facts: &Facts) -> bool {
    !facts.says_close && (version != Version::Http10 || facts.says_keep_alive)
}

/// The value of `Upgrade`, if it may travel on.
///
/// Needs the `upgrade` option, one field, HTTP/1.1 and well-formed protocols. `h2c` is treated as if no upgrade had
/// been asked for: a tunnel of HTTP requests would pass by every rule of ours (R39).
pub(super) fn upgrade_of(bytes: &[u8], version: Version, facts: &Facts) -> Option<Span> {
    if !facts.says_upgrade || facts.upgrade.times != 1 || version == Version::Http10 {
        return None;
    }
    let value = facts.upgrade.value;
    let travels = protocols(value.of(bytes)).all(|protocol| {
        let name = protocol.split(|&byte| byte == b'/').next().unwrap_or_default();
        protocol.split(|&byte| byte == b'/').count() <= 2
            && protocol.split(|&byte| byte == b'/').all(is_token)
            && !name.eq_ignore_ascii_case(b"h2c")
    });
    (travels && !value.is_empty()).then_some(value)
}

/// The `timeout` parameter of `Keep-Alive`, in seconds: how long the sender keeps the connection while it is idle.
///
/// A hint from before there were rules for it: what cannot be read is no error and says nothing.
pub(super) fn idle_timeout(bytes: &[u8], facts: &Facts) -> Option<u32> {
    if !facts.keep_alive.is_present() {
        return None;
    }
    let mut parameters = facts.keep_alive.value.of(bytes).split(|&byte| byte == b',').map(trim);
    let value = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_at_checked(b"timeout=".len())?;
        name.eq_ignore_ascii_case(b"timeout=").then_some(value)
    })?;
    // Longer than any connection is kept.
    (1..=6)
        .contains(&value.len())
        .then_some(value)?
        .iter()
        .try_fold(0, |seconds, byte| byte.is_ascii_digit().then(|| seconds * 10 + u32::from(byte - b'0')))
}

/// The protocols of an `Upgrade` value.
pub(super) fn protocols(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim)
}
