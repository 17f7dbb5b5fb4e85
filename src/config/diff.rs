//! What differs between two configurations, object by object, and what a change means while traffic flows.
//!
//! Objects are found by what names them (a listener by its name, an endpoint by its address, a route by its pattern),
//! never by their place in the text: moving things about is no change. The values are those of the JSON encoding, so that
//! nothing that can be written is forgotten here.

use crate::effective::{label, shown};
use crate::model::Config;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fmt;

/// All differences in the order of the JSON encoding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Changes(pub Vec<Change>);

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Names from the outside in, as in `config show --effective`: `upstream "app" timeouts connect`.
    pub name: String,
    pub kind: Kind,
    /// As it would be written; left out for whole objects. References stand for themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    pub effect: Effect,
    /// Where the new text says so, as `file:line:column`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Added,
    Removed,
    Changed,
}

/// What a change means for what is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Counts from the next request on, on every connection.
    InPlace,
    /// Counts for connections that are opened from now on.
    NewConnections,
    /// Nothing new goes there; what is under way finishes.
    Drains,
    /// Keeps its old value until the process starts anew.
    AtRestart,
}

impl Effect {
    /// In the words of a line for people.
    pub const fn text(self) -> &'static str {
        match self {
            Effect::InPlace => "with the next request",
            Effect::NewConnections => "for new connections",
            Effect::Drains => "drains",
            Effect::AtRestart => "takes effect at restart",
        }
    }
}

impl Changes {
    /// What turns `old` into `new`.
    pub fn between(old: &Config, new: &Config) -> Changes {
        let mut walk = Walk { old: Some(old), new, changes: Vec::new() };
        let (before, after) = (old.to_plain_value(), new.to_plain_value());
        walk.value(Some(&before), Some(&after), &At::default());
        Changes(walk.changes)
    }

    /// What turns a configuration that another process shows as JSON into `new`. What references stand for is not known
    /// then: they are the same when they are written in the same way.
    pub fn from_shown(old: &Value, new: &Config) -> Changes {
        let mut walk = Walk { old: None, new, changes: Vec::new() };
        walk.value(Some(old), Some(&new.to_value()), &At::default());
        Changes(walk.changes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that the running process cannot take over.
    pub fn at_restart(&self) -> impl Iterator<Item = &Change> {
        self.0.iter().filter(|change| change.effect == Effect::AtRestart)
    }

    /// How many there are of each kind, in a few words.
    pub fn summary(&self) -> String {
        let count = |kind| self.0.iter().filter(|change| change.kind == kind).count();
        let parts = [
            (count(Kind::Added), "added"),
            (count(Kind::Removed), "removed"),
            (count(Kind::Changed), "changed"),
        ];
        let parts: Vec<_> =
            parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if parts.is_empty() { "no changes".to_owned() } else { parts.join(", ") }
    }
}

/// `+`, `-` or `~`, what it is, and what it means; one line.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            Kind::Added => '+',
            Kind::Removed => '-',
            Kind::Changed => '~',
        };
        write!(f, "{sign} {}", self.name)?;
        match (&self.from, &self.to) {
            (Some(from), Some(to)) => write!(f, ": {from} -> {to}")?,
            (Some(value), None) | (None, Some(value)) => write!(f, ": {value}")?,
            (None, None) => {}
        }
        write!(f, "  ({})", self.effect.text())
    }
}

/// A place in both encodings.
#[derive(Clone, Default)]
struct At {
    name: String,
    old: String,
    new: String,
}

impl At {
    fn member(&self, key: &str) -> At {
        let name = if self.name.is_empty() { key.to_owned() } else { format!("{} {key}", self.name) };
        At { name, old: format!("{}/{key}", self.old), new: format!("{}/{key}", self.new) }
    }

    fn item(&self, label: &str, old: Option<usize>, new: Option<usize>) -> At {
        // A pointer begins with "/": nothing stands at the other one.
        let place = |pointer: &str, at: Option<usize>| {
            at.map_or_else(|| "nowhere".to_owned(), |at| format!("{pointer}/{at}"))
        };
        let single = self.name.strip_suffix('s').unwrap_or(&self.name);
        At { name: format!("{single} {label}"), old: place(&self.old, old), new: place(&self.new, new) }
    }
}

struct Walk<'a> {
    /// `None` when only its JSON is known.
    old: Option<&'a Config>,
    new: &'a Config,
    changes: Vec<Change>,
}

impl Walk<'_> {
    fn value(&mut self, old: Option<&Value>, new: Option<&Value>, at: &At) {
        match (old, new) {
            (Some(Value::Object(old)), Some(Value::Object(new)))
                if reference(old).is_none() && reference(new).is_none() =>
            {
                self.object(old, new, at);
            }
            (Some(Value::Array(old)), Some(Value::Array(new))) if objects(old) || objects(new) => {
                self.list(old, new, at);
            }
            // A list that was left out is an empty one.
            (Some(Value::Array(old)), None) if objects(old) => self.list(old, &[], at),
            (None, Some(Value::Array(new))) if objects(new) => self.list(&[], new, at),
            (old, new) if old == new => {}
            (old, new) => self.leaf(old, new, at),
        }
    }

    fn object(&mut self, old: &Map<String, Value>, new: &Map<String, Value>, at: &At) {
        for (key, value) in old {
            self.value(Some(value), new.get(key), &at.member(key));
        }
        for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
            self.value(None, Some(value), &at.member(key));
        }
    }

    /// Objects of the same label are the same; of several, the first of one list is the first of the other.
    fn list(&mut self, old: &[Value], new: &[Value], at: &At) {
        let mut there: HashMap<(String, usize), usize> = HashMap::new();
        let labels = numbered(new);
        for (index, label) in labels.iter().enumerate() {
            there.insert(label.clone(), index);
        }
        for (index, label) in numbered(old).into_iter().enumerate() {
            let same = there.remove(&label);
            let at = at.item(&told(&label), Some(index), same);
            match same {
                Some(same) => self.value(Some(&old[index]), Some(&new[same]), &at),
                None => self.push(Kind::Removed, None, None, &at),
            }
        }
        for (index, label) in labels.iter().enumerate().filter(|(_, label)| there.contains_key(*label)) {
            self.push(Kind::Added, None, None, &at.item(&told(label), None, Some(index)));
        }
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>, at: &At) {
        let from = old.map(|value| match (self.old, value) {
            (Some(config), value) => shown(config, value, &at.old),
            (None, Value::Object(members)) if let Some((kind, name)) = reference(members) => {
                format!("({kind}){name:?}")
            }
            (None, value) => value.to_string(),
        });
        let to = new.map(|value| shown(self.new, value, &at.new));
        let kind = match (old, new) {
            (None, _) => Kind::Added,
            (_, None) => Kind::Removed,
            _ => Kind::Changed,
        };
        self.push(kind, from, to, at);
    }

    fn push(&mut self, kind: Kind, from: Option<String>, to: Option<String>, at: &At) {
        // What came from a file or a variable may be another value although it is written in the same way.
        let is_hidden = kind == Kind::Changed && from == to;
        let to = if is_hidden { to.map(|to| format!("{to} (another value)")) } else { to };
        let place = self.new.written_at(&at.new);
        let effect = effect(&at.name, kind, from.is_none() && to.is_none());
        self.changes.push(Change { name: at.name.clone(), kind, from, to, effect, place });
    }
}

/// What a change of this name means. What is not mentioned here is read anew by every request.
fn effect(name: &str, kind: Kind, is_object: bool) -> Effect {
    let mut words = name.split(' ');
    let first = words.next().unwrap_or_default();
    match first {
        "workers" | "io" | "memory" | "overload" | "admin" | "access-log" => Effect::AtRestart,
        "listener" | "tcp" | "udp" => match (kind, is_object) {
            (Kind::Removed, true) => Effect::Drains,
            _ if is_object || name.ends_with(" bind") || name.contains(" tls ") => Effect::NewConnections,
            _ if name.contains("connections") => Effect::NewConnections,
            _ => Effect::InPlace,
        },
        "upstream" if kind == Kind::Removed && is_object => Effect::Drains,
        "upstream" if name.contains(" tls ") || name.ends_with(" timeouts connect") => Effect::NewConnections,
        _ => Effect::InPlace,
    }
}

/// Kind and name of a reference; every object with members of its own has others too.
fn reference(members: &Map<String, Value>) -> Option<(&str, &str)> {
    let mut all = members.iter();
    match (all.next(), all.next()) {
        (Some((kind, Value::String(name))), None) if kind == "env" || kind == "file" => Some((kind, name)),
        _ => None,
    }
}

fn objects(items: &[Value]) -> bool {
    !items.is_empty() && items.iter().all(Value::is_object)
}

/// The label of every item, and which one of that label it is.
fn numbered(items: &[Value]) -> Vec<(String, usize)> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let labels = items.iter().map(|item| label(item).map_or_else(String::new, |(_, label)| label));
    labels
        .map(|label| {
            let number = seen.entry(label.clone()).or_insert(0);
            *number += 1;
            (label, *number)
        })
        .collect()
}

fn told((label, number): &(String, usize)) -> String {
    match (label.is_empty(), number) {
        (true, number) => number.to_string(),
        (false, 1) => label.clone(),
        (false, number) => format!("{label} #{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Environment, Format, Sealed, parse};
    use std::io;
    use std::path::Path;

    const BASE: &str = r#"
listener "web" { bind "127.0.0.1:8080"; }
upstream "api" { endpoint "10.0.0.1:80" weight=2; endpoint "10.0.0.2:80"; }
site "*" { route "/" upstream="api"; route "/health" { respond 200; }; }
"#;

    fn config(text: &str) -> Config {
        parse(text, "new.kdl", Format::Kdl, &Sealed).unwrap_or_else(|problems| panic!("{problems}")).config
    }

    fn between(old: &str, new: &str) -> Vec<String> {
        let changes = Changes::between(&config(old), &config(new));
        changes.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_same_text_and_the_same_things_in_another_order_are_no_change() {
        assert!(between(BASE, BASE).is_empty());
        let moved = r#"
site "*" { route "/health" { respond 200; }; route "/" upstream="api"; }
upstream "api" { endpoint "10.0.0.2:80"; endpoint "10.0.0.1:80" weight=2; }
listener "web" { bind "127.0.0.1:8080"; }
"#;
        assert!(between(BASE, moved).is_empty());
        assert_eq!(Changes::between(&config(BASE), &config(moved)).summary(), "no changes");
    }

    #[test]
    fn objects_are_found_by_their_names() {
        let new = r#"
workers 3
listener "web" { bind "127.0.0.1:8081"; }
listener "other" { bind "127.0.0.1:9090"; }
upstream "api" { endpoint "10.0.0.1:80" weight=5; endpoint "10.0.0.3:80"; }
site "*" { route "/" upstream="api" { timeouts { total "5s"; }; }; }
"#;
        let changes = between(BASE, new);
        assert_eq!(
            changes,
            [
                r#"~ workers: "auto" -> 3  (takes effect at restart)"#,
                r#"~ listener "web" bind: "127.0.0.1:8080" -> "127.0.0.1:8081"  (for new connections)"#,
                r#"+ listener "other"  (for new connections)"#,
                r#"~ upstream "api" endpoint "10.0.0.1:80" weight: 2 -> 5  (with the next request)"#,
                r#"- upstream "api" endpoint "10.0.0.2:80"  (drains)"#,
                r#"+ upstream "api" endpoint "10.0.0.3:80"  (with the next request)"#,
                r#"+ site "*" route "/" timeouts total: "5s"  (with the next request)"#,
                r#"- site "*" route "/health"  (with the next request)"#,
            ]
        );
        let changes = Changes::between(&config(BASE), &config(new));
        assert_eq!(changes.summary(), "3 added, 2 removed, 3 changed");
        assert_eq!(changes.at_restart().count(), 1);
        let places = [0, 4].map(|at: usize| changes.0[at].place.as_deref());
        assert_eq!(places, [Some("new.kdl:2:9"), None]);
    }

    #[test]
    fn two_routes_of_one_pattern_are_told_apart() {
        let two = r#"
listener "web" { bind "127.0.0.1:8080"; }
site "*" { route "/a" { methods "GET"; respond 200; }; route "/a" { methods "POST"; respond 201; }; }
"#;
        let other = two.replace("201", "202");
        assert_eq!(
            between(two, &other),
            [r#"~ site "*" route "/a" #2 respond status: 201 -> 202  (with the next request)"#]
        );
    }

    #[test]
    fn a_configuration_that_is_only_shown_is_compared_by_what_is_shown() {
        let new = config(&BASE.replace("weight=2", "weight=7"));
        let told = Changes::from_shown(&config(BASE).to_value(), &new);
        assert_eq!(told, Changes::between(&config(BASE), &new));
        let text = r#"
listener "web" { bind "127.0.0.1:8080"; }
site "*" { route "/" { respond 200; headers { response { set "X-Key" (env)"KEY"; }; }; }; }
"#;
        let with =
            |text: &str| parse(text, "a.kdl", Format::Kdl, &Secret("canary")).expect("it loads").config;
        assert!(Changes::from_shown(&with(text).to_value(), &with(text)).is_empty());
        let other = with(&text.replace("KEY", "OTHER"));
        let told = Changes::from_shown(&with(text).to_value(), &other).0[0].to_string();
        assert!(told.contains(r#"(env)"KEY" -> (env)"OTHER""#) && !told.contains("canary"), "{told}");
    }

    /// One secret, whose value is the field.
    struct Secret(&'static str);

    impl Environment for Secret {
        fn variable(&self, _: &str) -> Option<String> {
            Some(self.0.to_owned())
        }

        fn read(&self, _: &Path, _: u64) -> io::Result<String> {
            Err(io::ErrorKind::NotFound.into())
        }

        fn list(&self, _: &Path) -> io::Result<Vec<String>> {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    #[test]
    fn a_secret_that_changed_is_told_and_not_shown() {
        let text = r#"
listener "web" { bind "127.0.0.1:8080"; }
site "*" { route "/" { respond 200; headers { response { set "X-Key" (env)"KEY"; }; }; }; }
"#;
        let with = |value| parse(text, "a.kdl", Format::Kdl, &Secret(value)).expect("it loads").config;
        let changes = Changes::between(&with("canary-1"), &with("canary-2"));
        let told = changes.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(told.contains(r#"(env)"KEY" -> (env)"KEY" (another value)"#), "{told}");
        assert!(
            !told.contains("canary")
                && !serde_json::to_string(&changes).unwrap_or_default().contains("canary")
        );
        assert!(Changes::between(&with("canary-1"), &with("canary-1")).is_empty());
    }
}
