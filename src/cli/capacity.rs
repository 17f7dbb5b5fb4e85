//! How many client connections the process has descriptors for.
//!
//! An exchange needs two descriptors, the client's and the upstream's, and the rest of the process needs some as well.
//! When clients may take all of them, no upstream can be reached any more and even `ringway status` is locked out; so
//! clients get at most 45 %, and accepting pauses there. Pipes, through which long bodies pass, get at most 4 %; without
//! a pipe a body is copied.
//!
//! Flows of datagrams need one descriptor each. They get what is configured, but at most 45 % where connections are served
//! as well, and 90 % where there are none; connections then share what they leave.

use base::limits::Limits;

/// Of 100 descriptors so many are for clients; as many for upstreams, the rest for everything else.
const CLIENT_PERCENT: u64 = 45;
/// A pipe takes two of them.
const PIPE_PERCENT: u64 = 4;

/// What bounds client connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// Of all workers together.
    pub(crate) connections_max: u64,
    /// The descriptor limit decides, not the configuration.
    pub(crate) descriptors: Option<u64>,
}

/// Lowers `limits.connections_max` and `limits.pipes_max`, which are one worker's part, to what `descriptors` allow.
pub(crate) fn apply(limits: &mut Limits, workers: usize, descriptors: u64) -> Capacity {
    let workers = workers.max(1) as u64;
    let of = |descriptors: u64, percent: u64| {
        (descriptors / 100 * percent + descriptors % 100 * percent / 100) / workers
    };
    let flow_percent = if limits.connections_max == 0 { 2 * CLIENT_PERCENT } else { CLIENT_PERCENT };
    let flows = u32::try_from(of(descriptors, flow_percent)).unwrap_or(u32::MAX);
    limits.flows_max = limits.flows_max.min(flows);
    let left = descriptors - u64::from(limits.flows_max) * workers;
    let part = |percent: u64| of(left, percent);
    limits.pipes_max = limits.pipes_max.min(u32::try_from(part(PIPE_PERCENT) / 2).unwrap_or(u32::MAX));
    let allowed = part(CLIENT_PERCENT);
    // Rounded down, so that all workers together stay below; one connection each is the least that serves.
    let allowed = u32::try_from(allowed).unwrap_or(u32::MAX).max(1);
    let lowered = allowed < limits.connections_max;
    limits.connections_max = limits.connections_max.min(allowed);
    Capacity {
        connections_max: u64::from(limits.connections_max) * workers,
        descriptors: lowered.then_some(descriptors),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(configured: u32, workers: usize, descriptors: u64) -> Capacity {
        let mut limits = Limits { connections_max: configured, ..Limits::DEFAULT };
        apply(&mut limits, workers, descriptors)
    }

    #[test]
    fn clients_get_at_most_45_percent_of_the_descriptors() {
        assert_eq!(capacity(65_536, 1, 1024), Capacity { connections_max: 460, descriptors: Some(1024) });
        assert_eq!(capacity(65_536, 4, 1024), Capacity { connections_max: 460, descriptors: Some(1024) });
        assert_eq!(capacity(65_536, 3, 256), Capacity { connections_max: 114, descriptors: Some(256) });
    }

    #[test]
    fn pipes_get_at_most_4_percent_of_the_descriptors() {
        let pipes = |workers, descriptors| {
            let mut limits = Limits::DEFAULT;
            apply(&mut limits, workers, descriptors);
            limits.pipes_max
        };
        assert_eq!((pipes(1, 1024), pipes(8, 1024), pipes(8, 65_536)), (20, 2, 64));
        assert_eq!((pipes(8, 256), pipes(1, u64::MAX)), (0, 64));
    }

    #[test]
    fn flows_get_half_of_the_descriptors_or_what_nobody_else_needs() {
        let both = |connections, flows, descriptors| {
            let mut limits = Limits { connections_max: connections, flows_max: flows, ..Limits::DEFAULT };
            apply(&mut limits, 2, descriptors);
            (limits.connections_max, limits.flows_max)
        };
        assert_eq!(both(10_000, 8192, 1_000_000), (10_000, 8192));
        assert_eq!(both(10_000, 8192, 20_000), (2475, 4500), "45 % of what flows leave");
        assert_eq!(both(0, 8192, 10_000).1, 4500, "only flows");
        assert_eq!(both(100, 0, 1024), (100, 0));
    }

    #[test]
    fn a_smaller_configuration_decides() {
        assert_eq!(capacity(100, 2, 1_000_000), Capacity { connections_max: 200, descriptors: None });
        assert_eq!(capacity(100, 2, u64::MAX), Capacity { connections_max: 200, descriptors: None });
    }

    #[test]
    fn every_worker_can_serve_somebody() {
        assert_eq!(capacity(100, 8, 10), Capacity { connections_max: 8, descriptors: Some(10) });
    }
}
