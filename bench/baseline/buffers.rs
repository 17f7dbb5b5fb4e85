//! Receive buffers, kept per thread while they are free.

use std::cell::RefCell;

use crate::connection::RECEIVE_BYTES;

/// Buffers kept at most.
const KEPT_MAX: usize = 1024;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room for [`RECEIVE_BYTES`]: for runtimes that fill what is spare.
pub(crate) fn take() -> Vec<u8> {
    FREE.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(RECEIVE_BYTES))
}

/// Gives a buffer back.
pub(crate) fn give(mut buffer: Vec<u8>) {
    buffer.clear();
    keep(buffer);
}

/// A buffer of [`RECEIVE_BYTES`] initialised bytes: for runtimes that fill a slice. No process uses both kinds.
pub(crate) fn take_whole() -> Vec<u8> {
    FREE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; RECEIVE_BYTES])
}

/// Gives back what [`take_whole`] returned, or drops what has another size.
pub(crate) fn give_whole(buffer: Vec<u8>) {
    if buffer.len() == RECEIVE_BYTES {
        keep(buffer);
    }
}

fn keep(buffer: Vec<u8>) {
    FREE.with_borrow_mut(|free| {
        if free.len() < KEPT_MAX && buffer.capacity() == RECEIVE_BYTES {
            free.push(buffer);
        }
    });
}
