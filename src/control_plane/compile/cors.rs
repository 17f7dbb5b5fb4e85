//! Pages of other origins.

use config::model::Cors as Written;
use traffic::filter::Cors;

/// Methods that need no permission (Fetch §2.2.1), and may be asked for all the same.
const SIMPLE: [&str; 3] = ["GET", "HEAD", "POST"];

pub(super) fn cors(written: &Written) -> Cors {
    let (any, named): (Vec<&String>, Vec<&String>) =
        written.origins.iter().partition(|origin| *origin == "*");
    let mut filter = Cors {
        any_origin: !any.is_empty(),
        methods: listed(&written.methods, &SIMPLE),
        headers: listed(&written.headers, &[]),
        expose: written.expose.join(", ").into_bytes().into(),
        max_age: written.max_age.as_secs().to_string().into_bytes().into(),
        credentials: written.credentials,
        private_network: written.private_network,
        refuse_others: written.refuse_others,
        ..Cors::default()
    };
    for origin in named {
        match origin.split_once('*') {
            Some((before, behind)) => {
                filter.wildcards.push((before.as_bytes().into(), behind.as_bytes().into()))
            }
            None => filter.origins.push(origin.as_bytes().into()),
        }
    }
    filter
}

/// A list with what is always in it; `None` where a star stands.
fn listed(written: &[String], always: &[&str]) -> Option<Box<[u8]>> {
    if written.iter().any(|one| one == "*") {
        return None;
    }
    let more = written.iter().map(String::as_str).filter(|one| !always.contains(one));
    let all: Vec<&str> = always.iter().copied().chain(more).collect();
    Some(all.join(", ").into_bytes().into())
}
