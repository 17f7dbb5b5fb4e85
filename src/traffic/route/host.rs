//! From the host of a request to its site.

use super::BuildError;
use super::hash::ByteMap;
use base::ids::RouteId;

/// Longest name that DNS allows; a longer host can only be in the default site.
const NAME_BYTES_MAX: usize = 255;

/// One name of a site. Hosts are compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `shop.example.com`, or an address literal.
    Exact(Box<str>),
    /// `*.example.com`, kept here without the `*.`: any host with at least one label before it.
    Wildcard(Box<str>),
    /// `*`: the default site.
    Any,
}

impl HostPattern {
    /// The pattern as it is written in the configuration: `*`, `*.example.com` or a host.
    pub fn parse(text: &str) -> HostPattern {
        match text.strip_prefix("*.") {
            _ if text == "*" => HostPattern::Any,
            Some(rest) => HostPattern::Wildcard(rest.to_ascii_lowercase().into()),
            None => HostPattern::Exact(text.to_ascii_lowercase().into()),
        }
    }

    fn check(&self, route: RouteId) -> Result<(), BuildError> {
        let (HostPattern::Exact(name) | HostPattern::Wildcard(name)) = self else { return Ok(()) };
        if name.is_empty() || name.contains('*') || name.starts_with('.') {
            return Err(BuildError::BadHost { route, host: name.clone() });
        }
        Ok(())
    }
}

/// Place of a site in the table.
pub(super) type Site = u32;

/// The compiled names.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts {
    /// In lower case.
    exact: ByteMap<Site>,
    /// Without `*.`, in lower case.
    wildcard: ByteMap<Site>,
    /// Bit `n` is set when some wildcard has `n` labels (63: that many or more), so that a host with a hundred dots does
    /// not cost a hundred look-ups.
    wildcard_labels: u64,
    any: Option<Site>,
}

impl Hosts {
    /// The site that `pattern` names; `next` is given to a name that is new.
    pub(super) fn site(
        &mut self,
        pattern: &HostPattern,
        next: Site,
        route: RouteId,
    ) -> Result<Site, BuildError> {
        pattern.check(route)?;
        Ok(match pattern {
            HostPattern::Exact(name) => *self.exact.entry(lower(name)).or_insert(next),
            HostPattern::Wildcard(name) => {
                self.wildcard_labels |= 1 << labels(name.as_bytes()).min(63);
                *self.wildcard.entry(lower(name)).or_insert(next)
            }
            HostPattern::Any => *self.any.get_or_insert(next),
        })
    }

    /// The site of `host`: exact, else the longest wildcard, else the default one.
    pub(super) fn find(&self, host: &[u8]) -> Option<Site> {
        if host.len() > NAME_BYTES_MAX || (self.exact.is_empty() && self.wildcard.is_empty()) {
            return self.any;
        }
        let mut buffer = [0; NAME_BYTES_MAX];
        let name = &mut buffer[..host.len()];
        name.copy_from_slice(host);
        name.make_ascii_lowercase();
        if let Some(&site) = self.exact.get(&*name) {
            return Some(site);
        }
        self.find_wildcard(name).or(self.any)
    }

    fn find_wildcard(&self, name: &[u8]) -> Option<Site> {
        if self.wildcard.is_empty() {
            return None;
        }
        let mut left = labels(name);
        let dots = name.iter().enumerate().filter(|&(_, &byte)| byte == b'.');
        for (at, _) in dots {
            left -= 1;
            // A label must stand before the dot, and some wildcard must have as many labels as follow it.
            if at > 0
                && self.wildcard_labels >> left.min(63) & 1 == 1
                && let Some(&site) = self.wildcard.get(&name[at + 1..])
            {
                return Some(site);
            }
        }
        None
    }
}

fn labels(name: &[u8]) -> usize {
    name.iter().filter(|&&byte| byte == b'.').count() + 1
}

fn lower(name: &str) -> Box<[u8]> {
    name.to_ascii_lowercase().into_bytes().into()
}
