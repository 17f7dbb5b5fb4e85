//! An open connection to an endpoint, together with the place that it takes among those that its upstream may have.

use crate::channel::Channel;
use std::ops::Deref;
use std::sync::Arc;
use traffic::admission::{Gate, Valve};

/// A connection to an endpoint. Dropped, it is closed and its place is free.
pub(crate) struct Link {
    /// Before the slot: the connection is closed when its place is given away.
    channel: Channel,
    /// `None` where nothing is limited.
    slot: Option<Slot>,
    /// What the endpoint's `identity` was: how the connection is secured.
    identity: u64,
}

impl Link {
    pub(crate) fn new(channel: Channel, slot: Option<Slot>, identity: u64) -> Link {
        Link { channel, slot, identity }
    }

    /// Closes with RST, as `Channel::reset`.
    pub(crate) fn reset(self) {
        self.channel.reset();
    }

    /// Whether it is secured as `identity` stands for.
    pub(crate) fn is_secured_as(&self, identity: u64) -> bool {
        self.identity == identity
    }

    /// Whether it counts against the limits behind `gate`.
    pub(crate) fn is_of(&self, gate: &Arc<Gate>) -> bool {
        self.slot.as_ref().is_some_and(|slot| Arc::ptr_eq(&slot.gate, gate))
    }

    /// Whether its endpoint has as many connections as it may have.
    pub(crate) fn is_of_full_endpoint(&self) -> bool {
        let valve = self.slot.as_ref().and_then(|slot| slot.valve.as_ref());
        valve.is_some_and(|valve| valve.is_connected_fully())
    }

    /// Whether a request waits for a connection, so that this one must not be kept idle.
    pub(crate) fn is_wanted(&self) -> bool {
        self.slot.as_ref().is_some_and(|slot| slot.gate.slots.waiting() > 0)
    }
}

impl Deref for Link {
    type Target = Channel;

    fn deref(&self) -> &Channel {
        &self.channel
    }
}

/// A place for a connection, free again when dropped.
pub(crate) struct Slot {
    gate: Arc<Gate>,
    valve: Option<Arc<Valve>>,
}

impl Slot {
    /// A place at the upstream and, where it has bounds of its own, at the endpoint. `None` when either has none.
    pub(crate) fn take(gate: &Arc<Gate>, connections_max: u32, valve: Option<&Arc<Valve>>) -> Option<Slot> {
        // Looked at first, so that no place of the upstream is taken in vain.
        if valve.is_some_and(|valve| valve.is_connected_fully()) || !gate.connect(connections_max) {
            return None;
        }
        let mut slot = Slot { gate: Arc::clone(gate), valve: None };
        if let Some(valve) = valve {
            if !valve.connect() {
                return None;
            }
            slot.valve = Some(Arc::clone(valve));
        }
        Some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The endpoint's place first: who is called by the gate looks at both.
        if let Some(valve) = &self.valve {
            valve.disconnect();
        }
        self.gate.disconnect();
    }
}
