//! `ringway apply`, `confirm`, `rollback` and `history`: configurations that come and go through the admin API.

use crate::args::{Apply, Rollback, Told};
use crate::ask::{RELOAD_TIME_MAX, ask, put, tell, tell_within};
use crate::exit::{Exit, complain, print};
use crate::reload::conclude;
use crate::status::{USUAL, not_asked};
use crate::table::ago;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) fn apply(args: &Apply) -> Exit {
    let admin = args.told.admin.clone().unwrap_or(USUAL);
    let text = match std::fs::read_to_string(&args.new) {
        Ok(text) => text,
        Err(error) => {
            return complain(Exit::Refused, format_args!("{}: {error}", args.new.display()), None);
        }
    };
    let is_json = args.new.extension().is_some_and(|extension| extension == "json");
    let kind = if is_json { "application/json" } else { "application/kdl" };
    let path = match args.confirm {
        Some(seconds) => format!("/v1/config?confirm={seconds}"),
        None => "/v1/config".to_owned(),
    };
    conclude(&admin, args.told.json, put(&admin, &path, kind, &text))
}

pub(crate) fn confirm(args: &Told) -> Exit {
    let admin = args.admin.clone().unwrap_or(USUAL);
    match tell(&admin, "/v1/confirm", &json!({})) {
        Ok(answer) if args.json => print(&format!("{answer}\n")),
        Ok(answer) => {
            print(&format!("configuration {} is confirmed\n", answer["confirmed"].as_str().unwrap_or("-")))
        }
        Err(error) => not_asked(&admin, &error),
    }
}

pub(crate) fn rollback(args: &Rollback) -> Exit {
    let admin = args.told.admin.clone().unwrap_or(USUAL);
    let body = args.to.as_ref().map_or_else(|| json!({}), |hash| json!({ "to": hash }));
    conclude(&admin, args.told.json, tell_within(&admin, "/v1/rollback", &body, RELOAD_TIME_MAX))
}

pub(crate) fn history(args: &Told) -> Exit {
    let admin = args.admin.clone().unwrap_or(USUAL);
    match ask(&admin, "/v1/history") {
        Ok(answer) if args.json => print(&format!("{answer}\n")),
        Ok(answer) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
            print(&for_people(&answer, now))
        }
        Err(error) => not_asked(&admin, &error),
    }
}

/// `now` in seconds since the Unix epoch.
fn for_people(answer: &Value, now: u64) -> String {
    let mut text = String::new();
    let mut line = |one: &Value, what: &str| {
        let word = |member: &str| one[member].as_str().unwrap_or("-").to_owned();
        let since = one["since_unix"].as_u64().map_or_else(String::new, |at| ago(now.saturating_sub(at)));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<16}  since {since} ago  {}{what}", word("hash"), word("source"));
    };
    let trial = answer["on_trial"]["ends_unix"].as_u64();
    let trial =
        trial.map(|ends| format!("  goes back in {} unless confirmed", ago(ends.saturating_sub(now))));
    line(&answer["in_force"], &format!("  in force{}", trial.unwrap_or_default()));
    answer["earlier"].as_array().into_iter().flatten().for_each(|one| line(one, ""));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_trial_says_so() {
        let one = |hash: &str| json!({ "hash": hash, "source": "a.kdl", "since_unix": 40 });
        let answer = json!({
            "in_force": one("new"), "on_trial": { "hash": "new", "ends_unix": 160 }, "earlier": [one("old")],
        });
        let text = for_people(&answer, 100);
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        assert!(first.starts_with("new ") && first.contains("in force  goes back in"), "{text}");
        assert!(
            lines.next().is_some_and(|line| line.starts_with("old ") && line.ends_with("a.kdl")),
            "{text}"
        );
    }
}
