//! Small typed indices. An id is only meaningful within the snapshot (or the process) that gave it out.

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl $name {
            /// The position in the table that gave this id out.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

id! {
    /// A listener: its place, the same in all generations that have it.
    ListenerId(u16);
    /// A listening socket (of every worker, where each has its own): the same in all generations that have it.
    SocketId(u32);
    /// A route of one snapshot, counted over all sites.
    RouteId(u32);
    /// An upstream of one snapshot.
    UpstreamId(u32);
    /// An endpoint within its upstream.
    EndpointId(u32);
    /// A worker of this process.
    WorkerId(u16);
}
