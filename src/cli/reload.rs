//! `ringway reload`: tells a running Ringway to read its configuration again, and says what became of it.

use crate::args::{AdminAddr, Reload};
use crate::ask::{AskError, RELOAD_TIME_MAX, tell_within};
use crate::exit::{Exit, complain, print, say};
use crate::status::{not_asked, place};
use serde_json::{Value, json};
use std::fmt::Write;

pub(crate) fn reload(args: &Reload) -> Exit {
    let admin = match place(args.admin.as_ref(), args.config.as_deref()) {
        Ok(admin) => admin,
        Err(exit) => return exit,
    };
    let path = match args.confirm {
        Some(seconds) => format!("/v1/reload?confirm={seconds}"),
        None if args.dry_run => "/v1/reload?dry-run=1".to_owned(),
        None => "/v1/reload".to_owned(),
    };
    conclude(&admin, args.json, tell_within(&admin, &path, &json!({}), RELOAD_TIME_MAX))
}

/// Says what has become of a configuration that was to be put into force.
pub(crate) fn conclude(admin: &AdminAddr, as_json: bool, outcome: Result<Value, AskError>) -> Exit {
    match outcome {
        Ok(answer) if as_json => print(&format!("{answer}\n")),
        Ok(answer) => {
            report(&answer["warnings"]);
            print(&for_people(&answer))
        }
        Err(AskError::Status { problem, .. }) if as_json => {
            let printed = print(&format!("{problem}\n"));
            if printed == Exit::Good { refusal(&problem) } else { printed }
        }
        Err(AskError::Status { problem, detail, .. }) if problem["problems"].is_array() => {
            report(&problem["problems"]);
            complain(refusal(&problem), format_args!("{detail}; the one in force stays"), None)
        }
        Err(error) => not_asked(admin, &error),
    }
}

/// A configuration that is wrong stays wrong; everything else may go better another time.
pub(crate) fn refusal(problem: &Value) -> Exit {
    if problem["problems"].is_array() { Exit::Refused } else { Exit::Failed }
}

/// Problems of a configuration as `ringway check` shows them.
pub(crate) fn report(problems: &Value) {
    for problem in problems.as_array().into_iter().flatten() {
        say(format_args!("{}\n", problem["text"].as_str().unwrap_or("-")));
    }
}

/// What has changed, one line each.
pub(crate) fn for_people(answer: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let done = match answer["result"].as_str() {
        Some("checked") => "can be put into force",
        _ => "is in force",
    };
    // Writing to a String cannot fail, here and below.
    let mut text = String::new();
    let _ = writeln!(
        text,
        "configuration {} {done}, generation {}: {}",
        word(&answer["hash"]),
        answer["generation"],
        word(&answer["summary"]),
    );
    for change in answer["changes"].as_array().into_iter().flatten() {
        let _ = writeln!(text, "  {}", change_line(change));
    }
    let names = |change: &Value| change["name"].as_str().map(str::to_owned);
    let mentioned: Vec<_> = answer["changes"].as_array().into_iter().flatten().filter_map(names).collect();
    for change in answer["at_restart"].as_array().into_iter().flatten() {
        if names(change).is_none_or(|name| !mentioned.contains(&name)) {
            let _ = writeln!(text, "  still waits for a restart: {}", change_line(change));
        }
    }
    text
}

/// As `config::Change` shows itself.
fn change_line(change: &Value) -> String {
    let sign = match change["kind"].as_str() {
        Some("added") => '+',
        Some("removed") => '-',
        _ => '~',
    };
    let values = match (change["from"].as_str(), change["to"].as_str()) {
        (Some(from), Some(to)) => format!(": {from} -> {to}"),
        (Some(value), None) | (None, Some(value)) => format!(": {value}"),
        (None, None) => String::new(),
    };
    let effect = match change["effect"].as_str() {
        Some("new-connections") => "for new connections",
        Some("drains") => "drains",
        Some("at-restart") => "takes effect at restart",
        _ => "with the next request",
    };
    format!("{sign} {}{values}  ({effect})", change["name"].as_str().unwrap_or("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_told_line_by_line() {
        let change = |name: &str, effect: &str| json!({ "name": name, "kind": "changed", "from": "1", "to": "2", "effect": effect });
        let answer = json!({
            "result": "applied", "generation": 4, "hash": "abc", "summary": "1 added, 1 changed",
            "changes": [
                { "name": "upstream \"b\"", "kind": "added", "effect": "in-place" },
                change("workers", "at-restart"),
            ],
            "at_restart": [change("workers", "at-restart"), change("io", "at-restart")],
        });
        assert_eq!(
            for_people(&answer),
            "configuration abc is in force, generation 4: 1 added, 1 changed\n  \
             + upstream \"b\"  (with the next request)\n  \
             ~ workers: 1 -> 2  (takes effect at restart)\n  \
             still waits for a restart: ~ io: 1 -> 2  (takes effect at restart)\n"
        );
    }

    #[test]
    fn only_a_wrong_configuration_is_refused_for_good() {
        assert_eq!(refusal(&json!({ "problems": [] })), Exit::Refused);
        assert_eq!(refusal(&json!({ "detail": "the node is about to stop" })), Exit::Failed);
    }
}
