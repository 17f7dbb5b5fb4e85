//! One question each, under a load that fits it.

pub(crate) mod idle;
pub(crate) mod kill;
pub(crate) mod overload;
pub(crate) mod storm;
