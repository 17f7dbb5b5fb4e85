//! `ringway doctor`: is this host, and are the endpoints of a configuration, as they should be? Each finding says what to do.

mod host;

use crate::args::Doctor;
use crate::check;
use crate::exit::{Exit, complain, print};
use control_plane::Trial;
use serde_json::json;
use std::fmt::Write;
use std::path::Path;

/// How good something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Good,
    /// It works, and could be better.
    Note,
    /// It will hurt, or does not work.
    Bad,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Good => "good",
            Level::Note => "note",
            Level::Bad => "bad",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    level: Level,
    topic: &'static str,
    what: String,
    remedy: Option<String>,
}

impl Finding {
    fn new(level: Level, topic: &'static str, what: String) -> Finding {
        Finding { level, topic, what, remedy: None }
    }

    fn good(topic: &'static str, what: String) -> Finding {
        Finding::new(Level::Good, topic, what)
    }

    fn note(topic: &'static str, what: String) -> Finding {
        Finding::new(Level::Note, topic, what)
    }

    fn bad(topic: &'static str, what: String) -> Finding {
        Finding::new(Level::Bad, topic, what)
    }

    #[cfg(test)]
    fn remedy(&self) -> &str {
        self.remedy.as_deref().unwrap_or_default()
    }

    fn with(mut self, remedy: impl Into<String>) -> Finding {
        self.remedy = Some(remedy.into());
        self
    }
}

pub(crate) fn doctor(args: &Doctor) -> Exit {
    let ready = match &args.config {
        None => None,
        Some(file) => match check::load(file).and_then(|loaded| check::compile(loaded, 1)) {
            Ok(ready) => Some(ready),
            Err(problems) => {
                check::report(&problems.0);
                return complain(Exit::Refused, format_args!("{} does not load", file.display()), None);
            }
        },
    };
    let mut found = host::examine(Path::new("/"), ready.as_ref().map(|ready| &ready.config));
    if let Some(ready) = &ready {
        match control_plane::try_endpoints(&ready.config, &ready.snapshot, &ready.secrets) {
            Ok(trials) => found.extend(trials.iter().map(of_trial)),
            Err(error) => {
                return complain(Exit::Failed, format_args!("endpoints cannot be tried: {error}"), None);
            }
        }
    }
    let worst = found.iter().map(|one| one.level).max().unwrap_or(Level::Good);
    let printed = print(&if args.json { for_machines(&found, worst) } else { for_people(&found) });
    match (printed, worst) {
        (Exit::Good, Level::Bad) => Exit::Failed,
        (Exit::Good, Level::Note) if args.strict => Exit::Failed,
        (printed, _) => printed,
    }
}

fn of_trial(trial: &Trial) -> Finding {
    let name = format!("\"{}\" {}", trial.upstream, trial.endpoint);
    match &trial.outcome {
        Ok(()) => Finding::good(
            "endpoint",
            format!("{name}: {} passed in {} ms", trial.how, trial.took.as_millis()),
        ),
        Err(why) => Finding::bad("endpoint", format!("{name}: {} failed: {why}", trial.how))
            .with(remedy_of(trial.how, why)),
    }
}

/// What is most likely to help.
fn remedy_of(how: &str, why: &str) -> String {
    let why = why.to_ascii_lowercase();
    let help = if why.contains("refused") {
        "nobody listens there: start the service, or mend the address in `endpoint`"
    } else if why.contains("no answer")
        || why.contains("within")
        || why.contains("timed out")
        || why.contains("unreachable")
    {
        "look for a firewall or a wrong route (`ip route get ADDRESS`), or give more time in `health { … timeout }`"
    } else if why.contains("certificate") || why.contains("tls") {
        "look at it with `openssl s_client -connect ADDRESS`; `tls { ca …; server-name … }` says what is believed"
    } else if how.contains("http") {
        "ask it with curl; `health { http … expect-status … }` says what passes"
    } else if why.contains("resolve") || why.contains("name") {
        "ask the name server with `dig NAME`; `dns { servers … }` says whom Ringway asks"
    } else {
        "try it by hand from this machine"
    };
    help.to_owned()
}

fn for_people(found: &[Finding]) -> String {
    let mut text = String::new();
    for one in found {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<4}  {:<12} {}", one.level.word(), one.topic, one.what);
        if let Some(remedy) = &one.remedy {
            let _ = writeln!(text, "{:19}do: {remedy}", "");
        }
    }
    let count = |level| found.iter().filter(|one| one.level == level).count();
    let _ = writeln!(
        text,
        "{} good, {} could be better, {} bad",
        count(Level::Good),
        count(Level::Note),
        count(Level::Bad)
    );
    text
}

fn for_machines(found: &[Finding], worst: Level) -> String {
    let list: Vec<_> = found
        .iter()
        .map(|one| json!({ "level": one.level.word(), "topic": one.topic, "what": one.what, "remedy": one.remedy }))
        .collect();
    format!("{}\n", json!({ "worst": worst.word(), "findings": list }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_stands_above_what_to_do() {
        let found = [
            Finding::good("io", "io_uring works".to_owned()),
            Finding::bad("backlog", "too small".to_owned()).with("`sysctl -w net.core.somaxconn=4096`"),
        ];
        let text = for_people(&found);
        assert!(
            text.contains(
                "bad   backlog      too small\n                   do: `sysctl -w net.core.somaxconn=4096`\n"
            ),
            "{text}"
        );
        assert!(text.ends_with("1 good, 0 could be better, 1 bad\n"), "{text}");
        let value: serde_json::Value =
            serde_json::from_str(&for_machines(&found, Level::Bad)).expect("it is JSON");
        assert_eq!(
            (value["worst"].as_str(), value["findings"][1]["level"].as_str()),
            (Some("bad"), Some("bad"))
        );
    }
}
