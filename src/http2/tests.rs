//! The interface against the client of `h2`, in memory.
