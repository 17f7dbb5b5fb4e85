//! The crate as its callers see it.

use crate::model::{Action, Config, Matcher};
use crate::{Format, Loaded, Problems, Sealed, load, parse};
use std::path::{Path, PathBuf};

/// The directory of the example configurations.
fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

fn kdl(source: &str) -> Result<Loaded, Problems> {
    parse(source, "test.kdl", Format::Kdl, &Sealed)
}

fn again(config: &Config) -> Config {
    match parse(&config.to_json(), "test.json", Format::Json, &Sealed) {
        Ok(loaded) => loaded.config,
        Err(problems) => panic!("{problems}"),
    }
}

#[test]
fn the_smallest_example_says_what_it_looks_like() {
    let loaded = load(&configs().join("minimal.kdl")).unwrap_or_else(|problems| panic!("{problems}"));
    let config = loaded.config;
    assert_eq!(loaded.warnings, Vec::new());
    assert_eq!(config.listeners[0].binds[0].to_string(), "127.0.0.1:8080");
    assert_eq!(config.sites[0].routes[0].matcher, Matcher::Prefix("/".into()));
    assert_eq!(config.sites[0].routes[0].action, Action::Upstream("app".into()));
    assert_eq!((config.upstreams[0].origin.line, config.upstreams[0].origin.column), (12, 1));
}

#[test]
fn the_json_of_a_configuration_loads_as_the_same_configuration() {
    for name in ["minimal.kdl", "edge.kdl"] {
        let loaded = load(&configs().join(name)).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(again(&loaded.config).to_value(), loaded.config.to_value(), "{name}");
    }
}

#[test]
fn all_problems_come_at_once_with_their_places() {
    let problems =
        kdl("listener \"a\" { bnid \"x\" }\nupstream \"u\" { endpoint \"1.2.3.4\" weigth=2 }\n").unwrap_err();
    println!("{problems}");
    assert!(problems.errors() >= 4, "{problems}");
}
