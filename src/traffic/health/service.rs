//! What an operator has asked of an endpoint, beside what checks and traffic show.

use std::fmt;

/// Which requests an endpoint may get as far as the operator is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Service {
    /// All, if it is healthy.
    #[default]
    Ready = 0,
    /// Only those that are bound to it already.
    Drain = 1,
    /// None.
    Down = 2,
}

impl Service {
    /// Every one, in the order in which they are offered.
    pub const ALL: [Service; 3] = [Service::Ready, Service::Drain, Service::Down];

    /// The word for it in the admin API.
    pub fn name(self) -> &'static str {
        match self {
            Service::Ready => "ready",
            Service::Drain => "drain",
            Service::Down => "down",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Service> {
        Service::ALL.into_iter().find(|service| service.name() == name)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
