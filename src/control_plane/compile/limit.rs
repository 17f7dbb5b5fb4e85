//! Limits: named ones once, those of sites and routes where they stand. Tables and statistics stay by name.

use super::route::Place;
use super::{Compiler, Problem};
use config::model::{
    Limit, LimitAbsent, LimitFields, LimitKey, LimitMode, LimitStage, LimitUse, LimitWindow,
};
use std::collections::HashMap;
use std::hash::RandomState;
use std::mem::discriminant;
use std::sync::Arc;
use traffic::filter::{EarlyLimit, Filter, LateLimit};
use traffic::limit::{
    Absent, FieldSet, Gcra, Key, KeyPart, Limiter, Measure, Periods, Prefixes, Sliding, Table,
};

/// The limits of one generation by name.
#[derive(Debug, Default)]
pub(super) struct Limiters {
    by_name: HashMap<String, Arc<Limiter>>,
}

impl Limiters {
    /// All of them, in the order of their names.
    pub(super) fn into_all(self) -> Vec<Arc<Limiter>> {
        let mut all: Vec<_> = self.by_name.into_values().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

impl Compiler<'_> {
    /// The filters that limit one route: by what the site says, and by what it says itself.
    pub(super) fn limit_filters(
        &mut self,
        place: Place<'_>,
        route: &str,
        limiters: &mut Limiters,
    ) -> Vec<Filter> {
        let site = place.site.names.first().map_or_else(String::new, ToString::to_string);
        let of_site =
            place.site.limit.iter().enumerate().map(|(at, one)| (one, format!("site {site} #{}", at + 1)));
        let of_route =
            place.route.limit.iter().enumerate().map(|(at, one)| (one, format!("{route} #{}", at + 1)));
        let (mut early, mut late) = (Vec::new(), Vec::new());
        for (one, place_name) in of_site.chain(of_route) {
            let (written, name) = match one {
                LimitUse::Own(limit) => (&**limit, limit.name.clone().unwrap_or(place_name)),
                LimitUse::Named { name, origin } => {
                    let all = self.config.limit.iter();
                    match all.clone().find(|limit| limit.name.as_ref() == Some(name)) {
                        Some(limit) => (limit, name.clone()),
                        None => {
                            self.problems.push(Problem::new(origin, format!("no limit named \"{name}\"")));
                            continue;
                        }
                    }
                }
            };
            let Some(limiter) = self.limiter(written, name, limiters) else { continue };
            match stage(written) {
                LimitStage::Early => early.push(limiter),
                LimitStage::Late => late.push(limiter),
            }
        }
        let mut filters = Vec::new();
        if !early.is_empty() {
            filters.push(Filter::EarlyLimit(EarlyLimit { limits: early, tells: late.is_empty() }));
        }
        if !late.is_empty() {
            filters.push(Filter::LateLimit(LateLimit { limits: late }));
        }
        filters
    }

    fn limiter(&mut self, written: &Limit, name: String, limiters: &mut Limiters) -> Option<Arc<Limiter>> {
        if let Some(same) = limiters.by_name.get(&name) {
            return Some(Arc::clone(same));
        }
        let Some(measure) = measure(written) else {
            let what = format!("limit \"{name}\" cannot be counted");
            self.problems.push(Problem::new(&written.origin, what));
            return None;
        };
        let previous = self.carried.limiter(&name);
        let table = previous
            .filter(|previous| {
                discriminant(&previous.measure) == discriminant(&measure)
                    && previous.table.is_for(written.keys)
            })
            .map_or_else(|| Arc::new(Table::new(written.keys)), |previous| Arc::clone(&previous.table));
        let key = Key {
            parts: written.key.0.iter().map(part).collect(),
            prefixes: Prefixes { v4: written.ipv4_prefix, v6: written.ipv6_prefix },
            absent: match written.absent {
                LimitAbsent::Shared => Absent::Shared,
                LimitAbsent::Skip => Absent::Skip,
                LimitAbsent::Deny => Absent::Deny,
            },
            secret: previous.map_or_else(RandomState::new, |previous| previous.key.secret.clone()),
        };
        let fields = match written.fields {
            LimitFields::Standard => FieldSet::Standard,
            LimitFields::XRateLimit => FieldSet::XRateLimit,
            LimitFields::Legacy => FieldSet::Legacy,
            LimitFields::Off => FieldSet::Off,
        };
        let limiter = Arc::new(Limiter {
            policy: traffic::limit::policy(&name, &measure).into(),
            name: name.as_str().into(),
            measure,
            cost: written.cost,
            key,
            enforces: written.mode == LimitMode::Enforce,
            fields,
            table,
            stats: previous.map_or_else(Arc::default, |previous| Arc::clone(&previous.stats)),
        });
        limiters.by_name.insert(name, Arc::clone(&limiter));
        Some(limiter)
    }
}

/// Where the limit runs: after authentication only if it has to.
fn stage(written: &Limit) -> LimitStage {
    let needs_caller = written.key.0.iter().any(LimitKey::needs_caller);
    written.stage.unwrap_or(if needs_caller { LimitStage::Late } else { LimitStage::Early })
}

fn measure(written: &Limit) -> Option<Measure> {
    if let Some(most) = written.concurrent {
        return Some(Measure::Concurrent(most));
    }
    let rate = written.rate?;
    let per = rate.per.duration();
    Some(match written.window.unwrap_or_default() {
        LimitWindow::Bucket => {
            Measure::Bucket(Gcra::new(rate.count, per, written.burst.unwrap_or(rate.count))?)
        }
        LimitWindow::Sliding => Measure::Sliding(Sliding { limit: rate.count, window: per }),
        LimitWindow::Fixed => Measure::Periods(Periods {
            limit: rate.count,
            starts: Box::default(),
            every_s: u32::try_from(per.as_secs()).ok()?,
        }),
    })
}

fn part(written: &LimitKey) -> KeyPart {
    match written {
        LimitKey::ClientIp => KeyPart::ClientIp,
        LimitKey::Header(name) => KeyPart::Header(name.as_bytes().into()),
        LimitKey::Consumer => KeyPart::Consumer,
        LimitKey::Credential => KeyPart::Credential,
        LimitKey::Claim(name) => KeyPart::Claim(name.as_str().into()),
        LimitKey::Host => KeyPart::Host,
        LimitKey::Method => KeyPart::Method,
        LimitKey::Path => KeyPart::Path,
        LimitKey::Route => KeyPart::Route,
        LimitKey::Everyone => KeyPart::Everyone,
    }
}
