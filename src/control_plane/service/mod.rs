//! Services that Ringway itself asks: issuers for their keys, services that decide about requests.
//!
//! A [`Client`] speaks HTTP/1.1 with one service and keeps a few connections to it. It follows no redirects, reads no more
//! than it was told to, and connects only where [`Reach`] lets it: a name that suddenly stands for this machine or for the
//! network's metadata service leads nowhere (R77).

mod client;
mod reach;

pub(crate) use client::{Client, Reply};
pub(crate) use reach::Reach;
