//! In what the request that goes upstream differs from the one that came.

use super::FieldEdits;

/// The differences. Empty when no filter changed anything; memory is kept from exchange to exchange.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Changes to the fields.
    pub edits: FieldEdits,
    path: Vec<u8>,
    path_set: bool,
    host: Vec<u8>,
    host_set: bool,
    query: Vec<u8>,
    query_set: bool,
}

impl Outgoing {
    /// The path to send instead of the request's canonical one; the query is not part of it.
    pub fn path(&self) -> Option<&[u8]> {
        self.path_set.then_some(&self.path)
    }

    /// The value of `Host` to send instead of the request's authority.
    pub fn host(&self) -> Option<&[u8]> {
        self.host_set.then_some(&self.host)
    }

    /// The query to send and to log where that of the request is `received`: without the credentials that stood in it.
    /// One of which nothing is left is none.
    pub fn query<'q>(&'q self, received: Option<&'q [u8]>) -> Option<&'q [u8]> {
        if self.query_set { Some(&self.query[..]).filter(|query| !query.is_empty()) } else { received }
    }

    /// Replaces the query by what `write` leaves in the vector, which is empty at first.
    pub fn write_query(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.query.clear();
        write(&mut self.query);
        self.query_set = true;
    }

    /// Replaces the path by what `write` leaves in the vector, which is empty at first.
    pub fn write_path(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.path.clear();
        write(&mut self.path);
        self.path_set = true;
    }

    /// Replaces the host.
    pub fn set_host(&mut self, host: &[u8]) {
        self.host.clear();
        self.host.extend_from_slice(host);
        self.host_set = true;
    }

    /// Whether the request goes on as it came.
    pub fn is_empty(&self) -> bool {
        !self.path_set && !self.host_set && !self.query_set && self.edits.is_empty()
    }

    /// Forgets the last request and keeps the memory.
    pub fn clear(&mut self) {
        self.edits.clear();
        self.path.clear();
        self.host.clear();
        self.query.clear();
        (self.path_set, self.host_set, self.query_set) = (false, false, false);
    }
}
