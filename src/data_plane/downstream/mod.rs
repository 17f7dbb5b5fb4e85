//! The client's side of a connection.

pub(crate) mod h1;
