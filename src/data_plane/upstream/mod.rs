//! The upstream's side: connections to endpoints, and HTTP over them.

pub(crate) mod admission;
mod announce;
pub(crate) mod choose;
pub(crate) mod dial;
pub(crate) mod forward;
pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod lease;
pub(crate) mod link;
pub(crate) mod pool;
pub(crate) mod presence;
pub(crate) mod queue;
