//! Looks whether files of certificates have changed, and brings what is in them into force.
//!
//! The files are asked for their state once a second rather than being watched by the kernel: a secret that is mounted into
//! a container changes by exchanging a symbolic link two folders above, which a watch on the file never sees.

use super::{Otherwise, Secrets};
use crate::deploy::Door;
use crate::node::Node;
use crate::notice::notice;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

const EVERY: Duration = Duration::from_secs(1);

/// Looks as long as the control plane runs.
pub(crate) async fn watch(node: Arc<Node>, door: Door) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let config = Arc::clone(&node.in_force().config);
        // Where they are not those of the configuration, another one is about to come into force.
        let Some(current) = node.secrets().filter(|current| current.are_of(&config)) else { continue };
        let before = Arc::clone(&current);
        // Asking for thousands of files may take a while.
        let looking = tokio::task::spawn_blocking(move || {
            let mut renewed =
                before.is_outdated().then(|| Secrets::load(&config, Some(&before), Otherwise::Keep))?;
            if let Ok(renewed) = &mut renewed {
                renewed.rotate(&config);
            }
            Some(renewed)
        });
        match looking.await {
            Ok(Some(Ok(renewed))) => {
                announce(&current, &renewed);
                if !door.secrets(current, Arc::new(renewed)).await {
                    return;
                }
            }
            Ok(Some(Err(faults))) => {
                for fault in faults {
                    notice(format_args!("{}: {}", fault.origin, fault.what));
                }
            }
            Ok(None) => {}
            Err(error) => notice(format_args!("looking at certificates: internal error: {error}")),
        }
    }
}

/// One line per certificate that has changed, or could not.
fn announce(before: &Secrets, after: &Secrets) {
    for (old, new) in before.shown().iter().zip(after.shown()) {
        let about = format!("{} \"{}\": {}", new.of, new.name, new.file);
        match (&old.trouble, &new.trouble) {
            (_, Some(why)) if old.trouble != new.trouble => {
                let days = (new.not_after - now()).div_euclid(86_400);
                notice(format_args!("{about}: the old certificate stays, valid for {days} more days: {why}"));
            }
            (_, None) if old.not_after != new.not_after || old.trouble.is_some() => {
                notice(format_args!("{about}: renewed"));
            }
            _ => {}
        }
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
