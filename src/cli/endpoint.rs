//! `ringway endpoint`: changes what an endpoint of a running Ringway gets.

use crate::args::{Endpoint, EndpointSet, Weight};
use crate::ask::tell;
use crate::exit::{Exit, print};
use crate::status::{USUAL, not_asked};
use serde_json::{Map, Value, json};
use std::fmt::Write;

pub(crate) fn endpoint(args: &Endpoint) -> Exit {
    let Endpoint::Set(set) = args;
    let admin = set.admin.clone().unwrap_or(USUAL);
    match tell(&admin, &path(set), &body(set)) {
        Ok(answer) if set.json => print(&format!("{answer}\n")),
        Ok(answer) => print(&for_people(&answer)),
        Err(error) => not_asked(&admin, &error),
    }
}

fn path(set: &EndpointSet) -> String {
    path_of(&set.upstream, &set.address)
}

/// Where the admin API takes changes of an endpoint.
pub(crate) fn path_of(upstream: &str, address: &str) -> String {
    format!("/v1/upstreams/{}/endpoints/{}", segment(upstream), segment(address))
}

/// A name as one segment of a path (RFC 3986 §3.3).
fn segment(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn body(set: &EndpointSet) -> Value {
    let mut members = Map::new();
    if let Some(state) = &set.state {
        members.insert("state".to_owned(), json!(state));
    }
    match set.weight {
        Some(Weight::To(weight)) => members.insert("weight".to_owned(), json!(weight)),
        Some(Weight::Configured) => members.insert("weight".to_owned(), Value::Null),
        None => None,
    };
    Value::Object(members)
}

fn for_people(answer: &Value) -> String {
    let word = |member: &str| answer[member].as_str().unwrap_or("-").to_owned();
    let overridden = if answer["weight_overridden"] == json!(true) { "" } else { " as configured" };
    format!(
        "upstream \"{}\": {}: state {}, weight {}{overridden}, generation {}\n",
        word("upstream"),
        word("address"),
        word("state"),
        answer["weight"],
        answer["generation"],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(upstream: &str, address: &str, state: Option<&str>, weight: Option<Weight>) -> EndpointSet {
        let (upstream, address, state) = (upstream.to_owned(), address.to_owned(), state.map(str::to_owned));
        EndpointSet { upstream, address, state, weight, admin: None, json: false }
    }

    #[test]
    fn names_stand_in_the_path_whatever_they_are() {
        let path = |upstream, address| path(&set(upstream, address, None, None));
        assert_eq!(
            path("a b/c", "unix:/run/a.sock"),
            "/v1/upstreams/a%20b%2Fc/endpoints/unix:%2Frun%2Fa.sock"
        );
        assert_eq!(path("api", "[::1]:80"), "/v1/upstreams/api/endpoints/%5B::1%5D:80");
    }

    #[test]
    fn only_what_was_said_is_sent() {
        assert_eq!(body(&set("a", "b", Some("drain"), None)), json!({ "state": "drain" }));
        assert_eq!(body(&set("a", "b", None, Some(Weight::To(2)))), json!({ "weight": 2 }));
        assert_eq!(body(&set("a", "b", None, Some(Weight::Configured))), json!({ "weight": null }));
    }
}
