//! The compiled route table. A look-up allocates nothing: one hash of the host, one of the path, a binary search.

use super::host::{Hosts, Site};
use super::path::Paths;
use super::predicate::{Methods, Predicate};
use super::{BuildError, RouteSpec};
use base::ids::RouteId;
use std::net::IpAddr;
use wire::http::Request;

/// All routes of one listener.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    hosts: Hosts,
    sites: Vec<SiteRoutes>,
}

/// What a request lacks for a route whose site and path it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// One of its methods.
    Method,
    /// The predicate at this place of [`RouteSpec::predicates`].
    Predicate { place: usize },
}

/// Routes of one site by descending priority; nearly always a single level.
#[derive(Clone, Debug, Default)]
struct SiteRoutes {
    levels: Vec<(i32, Paths<Vec<Rule>>)>,
}

/// One route behind its path.
#[derive(Clone, Debug)]
struct Rule {
    id: RouteId,
    methods: Methods,
    predicates: Box<[Predicate]>,
}

impl RouteTable {
    /// Compiles `specs`. Fails on the first rule that cannot be compiled; a checked configuration has none.
    pub fn build(specs: Vec<RouteSpec>) -> Result<RouteTable, BuildError> {
        let mut table = RouteTable::default();
        let mut specs: Vec<&RouteSpec> = specs.iter().collect();
        // Stable: what stands behind the same path is asked in this order.
        specs.sort_by_key(|spec| std::cmp::Reverse(spec.predicate_count()));
        for spec in specs {
            let rule = Rule {
                id: spec.id,
                methods: Methods::compile(&spec.methods, spec.id)?,
                predicates: spec.predicates.clone().into(),
            };
            let mut entered: Vec<Site> = Vec::new();
            for host in &spec.hosts {
                let next = Site::try_from(table.sites.len()).unwrap_or(Site::MAX);
                let site = table.hosts.site(host, next, spec.id)?;
                if site == next {
                    table.sites.push(SiteRoutes::default());
                }
                // A site may carry the same name twice in different spellings; the route goes in once.
                if !entered.contains(&site) {
                    entered.push(site);
                    table.sites[site as usize]
                        .level(spec.priority.unwrap_or(0))
                        .entry(&spec.path, spec.id)?
                        .push(rule.clone());
                }
            }
        }
        for (_, paths) in table.sites.iter_mut().flat_map(|site| &mut site.levels) {
            paths.link();
        }
        Ok(table)
    }

    /// The route of `request`, which came from `client`; `None` when no route of the site matches or there is no site.
    pub fn find(&self, request: Request<'_>, client: IpAddr) -> Option<RouteId> {
        self.find_and_tell(request, client, |_, _| {})
    }

    /// The same look-up, which tells every route whose path matched, in the order in which they were asked, and what kept
    /// it from being the one (`None`: it is the one).
    pub fn find_and_tell(
        &self,
        request: Request<'_>,
        client: IpAddr,
        mut tell: impl FnMut(RouteId, Option<Missed>),
    ) -> Option<RouteId> {
        let site = &self.sites[self.hosts.find(request.host())? as usize];
        let path = request.path();
        let mut first_that_holds = |rules: &Vec<Rule>| {
            rules.iter().find_map(|rule| {
                let missed = rule.missed_by(request, client);
                tell(rule.id, missed);
                missed.is_none().then_some(rule.id)
            })
        };
        site.levels.iter().find_map(|(_, paths)| paths.find(path, &mut first_that_holds))
    }
}

impl SiteRoutes {
    fn level(&mut self, priority: i32) -> &mut Paths<Vec<Rule>> {
        let at = match self.levels.binary_search_by(|(known, _)| priority.cmp(known)) {
            Ok(at) => at,
            Err(at) => {
                self.levels.insert(at, (priority, Paths::default()));
                at
            }
        };
        &mut self.levels[at].1
    }
}

impl Rule {
    fn missed_by(&self, request: Request<'_>, client: IpAddr) -> Option<Missed> {
        if !self.methods.allow(request) {
            return Some(Missed::Method);
        }
        let fails = self.predicates.iter().position(|predicate| !predicate.holds(request, client));
        fails.map(|place| Missed::Predicate { place })
    }
}
