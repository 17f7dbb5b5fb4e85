//! What the choice of a certificate and the look at a ticket have found out about a client.
//!
//! rustls makes both calls in the middle of its own, and hears of a missing certificate only that there is none. The rest
//! passes beside it, from the resolver and the ticket keys to the engine, on the thread that makes all of the calls.

use crate::failure::alert;
use std::cell::RefCell;
use wire::secure::Failure;

/// What was heard since [`take`] was called last.
#[derive(Default)]
pub(crate) struct Heard {
    /// The name that the client asks for, in lower case.
    pub(crate) server_name: Option<Box<str>>,
    /// Why there is no certificate for it.
    pub(crate) refusal: Option<Failure>,
    /// It offered a session of an earlier connection.
    pub(crate) offered_session: bool,
}

thread_local! {
    static HEARD: RefCell<Heard> = const {
        RefCell::new(Heard { server_name: None, refusal: None, offered_session: false })
    };
}

pub(crate) fn note(change: impl FnOnce(&mut Heard)) {
    HEARD.with_borrow_mut(change);
}

pub(crate) fn take() -> Heard {
    HEARD.take()
}

/// The record that tells a client why it is refused (RFC 8446 §6): fatal, not encrypted.
pub(crate) fn refusal(failure: Failure) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, alert(failure)]
}
