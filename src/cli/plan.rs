//! `ringway plan`: what a new configuration would change, compared with the running one or with another file. Nothing is
//! changed.

use crate::args::Plan;
use crate::ask::ask;
use crate::check;
use crate::exit::{Exit, complain, print};
use crate::status::{USUAL, not_asked};
use config::{Changes, Config, Problem};
use serde_json::json;
use std::fmt::Write;
use std::path::Path;

pub(crate) fn plan(args: &Plan) -> Exit {
    planned(args).unwrap_or_else(|exit| exit)
}

fn planned(args: &Plan) -> Result<Exit, Exit> {
    let (new, warnings) = good(&args.new)?;
    let changes = match &args.against {
        Some(old) => Changes::between(&good(old)?.0, &new),
        None => {
            let admin = args.admin.clone().unwrap_or(USUAL);
            let running = ask(&admin, "/v1/config").map_err(|error| not_asked(&admin, &error))?;
            Changes::from_shown(&running, &new)
        }
    };
    if args.json {
        let document = json!({ "summary": changes.summary(), "changes": changes, "warnings": warnings });
        return Ok(print(&format!("{document}\n")));
    }
    check::report(&warnings);
    Ok(print(&for_people(&changes)))
}

/// A configuration that could be put into force, and its warnings.
fn good(file: &Path) -> Result<(Config, Vec<Problem>), Exit> {
    let ready = check::load(file).and_then(|loaded| check::compile(loaded, 1)).map_err(|problems| {
        check::report(&problems.0);
        complain(Exit::Refused, format_args!("{} does not load", file.display()), None)
    })?;
    Ok((ready.config, ready.warnings))
}

fn for_people(changes: &Changes) -> String {
    let mut text = format!("{}\n", changes.summary());
    for change in &changes.0 {
        let place = change.place.as_ref().map(|place| format!("  {place}")).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {change}{place}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    const OLD: &str =
        "listener \"web\" { bind \"127.0.0.1:0\"; }\nsite \"*\" { route \"/\" { respond 200; }; }\n";

    #[test]
    fn two_files_are_compared_without_anybody_running() {
        let scratch = Scratch::new();
        let old = scratch.write("old.kdl", OLD);
        let plan = |new| plan(&Plan { new, against: Some(old.clone()), admin: None, json: false });
        assert_eq!(plan(old.clone()), Exit::Good);
        assert_eq!(plan(scratch.write("new.kdl", &OLD.replace("200", "204"))), Exit::Good);
        assert_eq!(plan(scratch.write("bad.kdl", "nonsense")), Exit::Refused);
        assert_eq!(plan("/nowhere/at/all.kdl".into()), Exit::Refused);
    }

    #[test]
    fn a_change_is_told_with_the_line_that_asks_for_it() {
        let scratch = Scratch::new();
        let (old, _) = good(&scratch.write("old.kdl", OLD)).expect("it loads");
        let file = scratch.write("new.kdl", &OLD.replace("200", "204"));
        let (new, _) = good(&file).expect("it loads");
        let text = for_people(&Changes::between(&old, &new));
        let expected = format!(
            "1 changed\n  ~ site \"*\" route \"/\" respond status: 200 -> 204  (with the next request)  {}:2:",
            file.display()
        );
        assert!(text.starts_with(&expected), "{text}");
    }
}
