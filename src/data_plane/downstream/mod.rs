//! The client's side of a connection.

mod client;
pub(crate) mod h1;
mod h2;
mod hello;
pub(crate) mod proxy_header;
mod stream;
pub(crate) mod tcp;

pub(crate) use client::{Client, ClientWatch};
pub(crate) use stream::ClientStream;
