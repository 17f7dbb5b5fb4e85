//! `ringway explain`: what becomes of a request and why, asked of a running Ringway or of a file.

use crate::args::Explain;
use crate::ask::tell;
use crate::check;
use crate::exit::{Exit, complain, print};
use crate::status::{USUAL, not_asked};
use control_plane::{Question, Subject};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

pub(crate) fn explain(args: &Explain) -> Exit {
    explained(args).unwrap_or_else(|exit| exit)
}

fn explained(args: &Explain) -> Result<Exit, Exit> {
    let told = match &args.config {
        Some(file) => of_file(args, file)?,
        None => {
            let admin = args.admin.clone().unwrap_or(USUAL);
            tell(&admin, "/v1/explain", &body(args)).map_err(|error| not_asked(&admin, &error))?
        }
    };
    Ok(print(&if args.json { format!("{told}\n") } else { for_people(&told) }))
}

fn body(args: &Explain) -> Value {
    let mut body = json!({ "method": args.method, "url": args.url, "headers": args.headers });
    if let Some(from) = args.from {
        body["from"] = json!(from.to_string());
    }
    if let Some(listener) = &args.listener {
        body["listener"] = json!(listener);
    }
    body
}

/// Nobody runs: the state of the endpoints is not known.
fn of_file(args: &Explain, file: &Path) -> Result<Value, Exit> {
    let unclear = |unclear| complain(Exit::Refused, unclear, None);
    let ready = check::load(file).and_then(|loaded| check::compile(loaded, 1)).map_err(|problems| {
        check::report(&problems.0);
        complain(Exit::Refused, format_args!("{} does not load", file.display()), None)
    })?;
    let mut question = Question::new(&args.method, &args.url).map_err(unclear)?;
    args.headers.iter().try_for_each(|line| question.field(line)).map_err(unclear)?;
    question.listener.clone_from(&args.listener);
    question.from = args.from.unwrap_or(question.from);
    let now = runtime::clock();
    let subject =
        Subject { config: &ready.config, snapshot: &ready.snapshot, listening: &[], now, live: false };
    let told = control_plane::explain(subject, &question).map_err(unclear)?;
    serde_json::to_value(told).map_err(|error| complain(Exit::Failed, error, None))
}

/// From the listener to the end, one step a line, with the place in the configuration.
fn for_people(told: &Value) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail, here and below.
    let mut line = |name: &str, what: String, origin: &Value| {
        let origin = origin.as_str().map(|origin| format!("  [{origin}]")).unwrap_or_default();
        let _ = writeln!(text, "{name:<10} {what}{origin}");
    };
    let none = Value::Null;
    let listener = &told["listener"];
    line(
        "listener",
        format!("{}  {}", word(&listener["name"]), words(&listener["addresses"])),
        &listener["origin"],
    );
    let believed =
        if told["client_from_forwarded"] == json!(true) { ", as a trusted proxy says" } else { "" };
    if told["client"] != json!("") {
        line("client", format!("{}{believed}", word(&told["client"])), &none);
    }
    for considered in items(&told["considered"]) {
        if let Some(missed) = considered["missed"].as_str() {
            line("not", format!("{}: {missed}", word(&considered["route"])), &considered["origin"]);
        }
    }
    let route = &told["route"];
    if !route.is_null() {
        line("route", word(&route["name"]), &route["origin"]);
        settings(&route["settings"], &["timeouts", "retry", "limits", "hedge"], &mut line);
    }
    let sent = &told["to_endpoint"];
    if !sent.is_null() {
        let rewritten = if sent["rewritten"] == json!(true) { "  (rewritten)" } else { "" };
        line("sends", format!("{} to Host {}{rewritten}", word(&sent["target"]), word(&sent["host"])), &none);
        edits("request", &sent["fields"], &mut line);
    }
    edits("response", &told["response"], &mut line);
    if let Some(location) = told["location"].as_str() {
        line("location", location.to_owned(), &none);
    }
    let upstream = &told["upstream"];
    if !upstream.is_null() {
        of_upstream(upstream, &mut line);
    }
    for note in items(&told["notes"]) {
        line("note", word(note), &none);
    }
    line("outcome", outcome(told), &none);
    text
}

type Line<'a> = dyn FnMut(&str, String, &Value) + 'a;

fn of_upstream(upstream: &Value, line: &mut Line<'_>) {
    let none = Value::Null;
    let shares = items(&upstream["shares"]);
    let shares: Vec<_> = shares.map(|share| format!("{} {} %", word(&share[0]), share[1])).collect();
    let shares = if shares.len() > 1 { format!("  of {}", shares.join(", ")) } else { String::new() };
    line("upstream", format!("{}{shares}", word(&upstream["name"])), &upstream["origin"]);
    settings(&upstream["settings"], &["timeouts", "retry-budget", "limits"], line);
    let how = if upstream["is_determined"] == json!(true) {
        "the same request always goes there"
    } else {
        "another request may go elsewhere"
    };
    let session = upstream["session"].as_str().map(|session| format!("; {session}")).unwrap_or_default();
    line("balance", format!("{}: {how}{session}", word(&upstream["balance"])), &none);
    if upstream["panic"] == json!(true) {
        line("panic", "too few endpoints are healthy to be believed: all of them count".to_owned(), &none);
    }
    for endpoint in items(&upstream["endpoints"]) {
        let name = if endpoint["address"] == upstream["chosen"] { "endpoint *" } else { "endpoint" };
        let why = endpoint["left_out"].as_str().map(|why| format!("; {why}")).unwrap_or_default();
        let state = format!(
            "{}  {}, weight {}, tier {}, {} in flight, {} us{why}",
            word(&endpoint["address"]),
            word(&endpoint["state"]),
            endpoint["weight"],
            endpoint["tier"],
            endpoint["in_flight"],
            endpoint["latency_us"],
        );
        line(name, state, &none);
    }
}

/// What is written, and of what is not, what matters most.
fn settings(settings: &Value, always: &[&str], line: &mut Line<'_>) {
    for setting in items(settings) {
        let (name, from) = (word(&setting["name"]), word(&setting["from"]));
        let matters = always.iter().any(|group| name.split(' ').next() == Some(group));
        if matters || from != "default" {
            line("", format!("  {name} {}", word(&setting["value"])), &setting["from"]);
        }
    }
}

fn edits(whose: &str, edits: &Value, line: &mut Line<'_>) {
    for field in items(&edits["set"]) {
        line(whose, format!("+ {}: {}", word(&field[0]), word(&field[1])), &Value::Null);
    }
    for name in items(&edits["removed"]) {
        line(whose, format!("- {}", word(name)), &Value::Null);
    }
}

fn outcome(told: &Value) -> String {
    let outcome = &told["outcome"];
    let Some(cause) = outcome["cause"].as_str() else {
        let chosen = told["upstream"]["chosen"].as_str();
        return chosen.map_or_else(
            || "waits for an endpoint".to_owned(),
            |chosen| format!("goes to {chosen}, whose answer is passed on"),
        );
    };
    format!("Ringway answers {} itself: {cause}: {}", outcome["status"], word(&outcome["title"]))
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

fn words(list: &Value) -> String {
    items(list).map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_file_is_explained_with_the_lines_that_decide() {
        let scratch = Scratch::new();
        let file = scratch.write(
            "a.kdl",
            "listener \"web\" { bind \"127.0.0.1:8080\"; }\n\
             upstream \"api\" { endpoint \"10.0.0.1:80\"; }\n\
             site \"*\" {\n\
             route \"/\" upstream=\"api\" { match { header \"X-Beta\" \"1\"; }; timeouts { total \"5s\"; }; }\n\
             route \"/\" { respond 204; }\n}\n",
        );
        let ask = |headers: &[&str]| Explain {
            method: "GET".to_owned(),
            url: "http://a.example/x".to_owned(),
            headers: headers.iter().map(|&header| header.to_owned()).collect(),
            from: None,
            listener: None,
            config: Some(file.clone()),
            admin: None,
            json: false,
        };
        let told =
            |headers| for_people(&of_file(&ask(headers), &file).unwrap_or_else(|exit| panic!("{exit:?}")));
        let name = file.display();
        let plain = told(&[]);
        for part in [
            format!("listener   web  127.0.0.1:8080  [{name}:1:1]\n"),
            format!("not        * / header:X-Beta=1: header X-Beta is not \"1\"  [{name}:4:1]\n"),
            "outcome    Ringway answers 204 itself: fixed_response: The route answers by itself.\n"
                .to_owned(),
        ] {
            assert!(plain.contains(&part), "{part}\n{plain}");
        }
        let beta = told(&["X-Beta: 1"]);
        for part in [
            format!("timeouts total \"5s\"  [{name}:4:"),
            "endpoint * 10.0.0.1:80  unknown, weight 1".to_owned(),
            "outcome    goes to 10.0.0.1:80, whose answer is passed on\n".to_owned(),
        ] {
            assert!(beta.contains(&part), "{part}\n{beta}");
        }
        assert_eq!(explain(&Explain { url: "nonsense".to_owned(), ..ask(&[]) }), Exit::Refused);
    }
}
