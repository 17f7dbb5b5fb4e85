//! What one endpoint may be given at once. Looked at by the balancer, which passes over an endpoint without room.

use super::breaker::{Breaker, BreakerRules};
use super::gate::{give_back, take};
use crate::health::EndpointCell;
use crate::sync::AtomicU32;
use crate::sync::Ordering::Relaxed;
use base::Instant;
use std::sync::Arc;

/// The bounds of an endpoint in one generation, and the state that it keeps over all of them.
#[derive(Debug)]
pub struct Valve {
    /// Attempts in flight; `u32::MAX` is unlimited.
    pub requests_max: u32,
    /// Open connections, idle ones included; `u32::MAX` is unlimited.
    pub connections_max: u32,
    /// `None` when the endpoint has no breaker.
    pub breaker: Option<BreakerRules>,
    pub state: Arc<ValveState>,
}

/// What an endpoint has in use besides the attempts in its [`EndpointCell`]; survives generations.
#[derive(Debug)]
pub struct ValveState {
    connections: AtomicU32,
    pub breaker: Breaker,
}

impl Default for ValveState {
    fn default() -> Self {
        ValveState { connections: AtomicU32::new(0), breaker: Breaker::default() }
    }
}

impl ValveState {
    /// Open connections.
    pub fn connections(&self) -> u32 {
        self.connections.load(Relaxed)
    }
}

impl Valve {
    /// Attempts that may be in flight: each one needs a connection of its own.
    pub fn in_flight_max(&self) -> u32 {
        self.requests_max.min(self.connections_max)
    }

    /// Whether the endpoint has as much as it may have.
    pub fn is_full(&self, cell: &EndpointCell) -> bool {
        cell.in_flight() >= self.in_flight_max()
    }

    /// Whether the endpoint's breaker lets nothing in.
    pub fn is_open(&self, now: Instant) -> bool {
        self.breaker.as_ref().is_some_and(|rules| !self.state.breaker.may_admit(rules, now))
    }

    /// Takes a place for a connection, if there is one.
    pub fn connect(&self) -> bool {
        take(&self.state.connections, self.connections_max)
    }

    /// Whether there are as many connections as there may be.
    pub fn is_connected_fully(&self) -> bool {
        self.state.connections() >= self.connections_max
    }

    /// The connection is closed.
    pub fn disconnect(&self) {
        give_back(&self.state.connections);
    }
}
