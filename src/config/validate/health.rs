//! Do checks and ejection say something that can hold?

use super::Check;
use crate::literal::{Address, Bound, print_duration};
use crate::model::{Health, Outlier, Switch, TlsCheck, Upstream};
use crate::problem::Code;
use std::time::Duration;

impl Check<'_> {
    pub(super) fn health(&mut self, upstream: &Upstream) {
        let origin = &upstream.origin;
        if let Some(health) = &upstream.health {
            let (member, schedule) = (format!("/health/{}", health.word()), health.schedule());
            if schedule.timeout > schedule.every {
                let at =
                    self.nearest_written(origin, &[&format!("{member}/timeout"), &format!("{member}/every")]);
                let what = "a check may take longer than the time to the next one".to_owned();
                let hint = Some("make timeout at most every".to_owned());
                self.error(Code::Contradiction, origin, &at, what, hint);
            }
        }
        if let Some(Health::Tls(check)) = &upstream.health {
            self.tls_check(upstream, check);
        }
        if upstream.slow_start.at().is_some_and(|lasts| lasts > SLOW_START_MAX) {
            let what = "\"slow-start\" is longer than four hours".to_owned();
            self.error(Code::Value, origin, "/slow-start", what, None);
        }
        self.outlier(upstream);
    }

    fn tls_check(&mut self, upstream: &Upstream, check: &TlsCheck) {
        let origin = &upstream.origin;
        if check.insecure {
            if check.ca.is_some() {
                let what = "\"ca\" has no effect when \"insecure\" takes any certificate".to_owned();
                self.error(
                    Code::Contradiction,
                    origin,
                    "/health/tls/ca",
                    what,
                    Some("keep one of them".into()),
                );
            }
            let what = "the check takes any certificate".to_owned();
            let hint = Some("name the authority with ca=\"file\" instead".to_owned());
            self.warning(Code::Contradiction, origin, "/health/tls/insecure", what, hint);
        }
        let on_unix = upstream
            .endpoints
            .iter()
            .find(|endpoint| matches!(endpoint.address.address(), Some(Address::Unix(_))));
        if let (Some(endpoint), None, false) = (on_unix, &check.server_name, check.insecure) {
            let what = format!("no certificate can be valid for {}", endpoint.address);
            let hint = Some("write tls server-name=\"name\" in \"health\"".to_owned());
            self.error(Code::Contradiction, &endpoint.origin, "/address", what, hint);
        }
    }

    fn outlier(&mut self, upstream: &Upstream) {
        let (origin, outlier) = (&upstream.origin, &upstream.outlier);
        if outlier.mode == Switch::Off {
            if *outlier != (Outlier { mode: Switch::Off, ..Outlier::default() }) {
                let what = "\"outlier\" is off; what it says besides has no effect".to_owned();
                self.warning(Code::Contradiction, origin, "/outlier", what, None);
            }
            return;
        }
        if outlier.eject_longest > EJECTION_MAX {
            let what = "\"eject-longest\" is longer than a day".to_owned();
            self.error(Code::Value, origin, "/outlier/eject-longest", what, None);
        }
        if outlier.eject_for > outlier.eject_longest {
            let at = self.nearest_written(origin, &["/outlier/eject-for", "/outlier/eject-longest"]);
            let what = format!(
                "the first ejection ({}) is longer than the longest ({})",
                print_duration(&outlier.eject_for),
                print_duration(&outlier.eject_longest)
            );
            self.error(Code::Contradiction, origin, &at, what, None);
        }
        if outlier.consecutive_errors.0 == Bound::Off && outlier.success_rate.mode == Switch::Off {
            let what = "nothing ejects: both ways are off".to_owned();
            let hint = Some("write outlier \"off\"".to_owned());
            self.warning(Code::Contradiction, origin, "/outlier", what, hint);
        }
    }
}

/// What the shared state of endpoints has room for, and more than anybody should want.
const SLOW_START_MAX: Duration = Duration::from_secs(4 * 3600);
const EJECTION_MAX: Duration = Duration::from_secs(24 * 3600);
