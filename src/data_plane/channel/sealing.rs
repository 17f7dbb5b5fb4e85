//! The connections of one worker whose plaintext waits to be encrypted, and what they lend each other.
//!
//! What a turn writes is encrypted once, at its end, so that it leaves in as few records as it fits into. Memory for
//! plaintext is lent for that time: a connection that has nothing to send holds none.

use super::Secured;
use runtime::Runtime;
use std::cell::RefCell;
use std::rc::Weak;

/// Shared by all secured connections of a worker.
pub(crate) struct Sealing {
    pub(super) rt: Runtime,
    due: RefCell<Vec<Weak<Secured>>>,
    spare: RefCell<Vec<Vec<u8>>>,
}

impl Sealing {
    pub(crate) fn new(rt: Runtime) -> Sealing {
        Sealing { rt, due: RefCell::default(), spare: RefCell::default() }
    }

    /// Encrypts everything that was written in this turn.
    pub(crate) fn seal_all(&self) {
        if self.due.borrow().is_empty() {
            return;
        }
        let mut due = std::mem::take(&mut *self.due.borrow_mut());
        for secured in due.drain(..).filter_map(|secured| secured.upgrade()) {
            secured.seal();
        }
        *self.due.borrow_mut() = due;
    }

    pub(super) fn list(&self, secured: Weak<Secured>) {
        self.due.borrow_mut().push(secured);
    }

    /// An empty vector for plaintext.
    pub(super) fn lend(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    pub(super) fn give_back(&self, mut bytes: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX && (1..=SPARE_BYTES_MAX).contains(&bytes.capacity()) {
            bytes.clear();
            spare.push(bytes);
        }
    }

    /// Gives back memory that is kept for reuse.
    pub(crate) fn trim(&self) {
        self.spare.borrow_mut().clear();
    }
}

/// Vectors kept for reuse: 1 MiB at most.
const SPARE_MAX: usize = 64;
const SPARE_BYTES_MAX: usize = 16 << 10;
