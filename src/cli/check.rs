//! `ringway check`: all that is wrong with a configuration, and nothing else happens.
//!
//! Loading and compiling are the same calls that `ringway run` makes, so the two cannot disagree.

use crate::args::Check;
use crate::exit::{Exit, print, say};
use config::{Config, Problem, Problems, Severity};
use control_plane::Secrets;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use traffic::Snapshot;

pub(crate) fn check(args: &Check) -> Exit {
    // The number of workers changes how bounds are shared out, not whether a configuration is good.
    let outcome = load(&args.config).and_then(|loaded| compile(loaded, 1));
    let problems = match &outcome {
        Ok(ready) => &ready.warnings,
        Err(Problems(problems)) => problems,
    };
    let (exit, counts) = verdict(problems, args.strict);
    if args.json {
        let document = json!({
            "valid": outcome.is_ok(),
            "errors": counts.errors,
            "warnings": counts.warnings,
            "problems": problems,
        });
        let printed = print(&format!("{document}\n"));
        return if printed == Exit::Good { exit } else { printed };
    }
    report(problems);
    match (exit, counts) {
        (Exit::Refused, _) => say(format_args!("{}: {counts}; it will not load", args.config.display())),
        (_, Counts { warnings: 0, .. }) => say(format_args!("{}: no problems", args.config.display())),
        _ => say(format_args!("{}: {counts}; it loads", args.config.display())),
    }
    exit
}

/// A configuration that can be put into force, with everything that its author should know.
pub(crate) struct Ready {
    pub(crate) config: Config,
    pub(crate) snapshot: Snapshot,
    /// What was read from files of certificates.
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) warnings: Vec<Problem>,
}

/// Reads and validates; no sockets, no writes.
pub(crate) fn load(path: &Path) -> Result<config::Loaded, Problems> {
    config::load(path)
}

/// The second half of [`load`]: problems that only show in the compiled form look like all others.
pub(crate) fn compile(loaded: config::Loaded, workers: usize) -> Result<Ready, Problems> {
    let config::Loaded { config, mut warnings } = loaded;
    match control_plane::compile(&config, workers, None) {
        Ok(compiled) => {
            warnings.extend(compiled.warnings.iter().map(control_plane::Problem::to_warning));
            Ok(Ready { config, snapshot: compiled.snapshot, secrets: compiled.secrets, warnings })
        }
        Err(problems) => {
            warnings.extend(problems.iter().map(control_plane::Problem::to_error));
            Err(Problems(warnings))
        }
    }
}

/// All problems on standard error, an empty line between two.
pub(crate) fn report(problems: &[Problem]) {
    for problem in problems {
        say(format_args!("{problem}\n"));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    errors: usize,
    warnings: usize,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let Counts { errors, warnings } = *self;
        write!(f, "{errors} error{}, {warnings} warning{}", plural(errors), plural(warnings))
    }
}

fn verdict(problems: &[Problem], strict: bool) -> (Exit, Counts) {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let counts = Counts { errors, warnings: problems.len() - errors };
    let exit = match counts {
        Counts { errors: 1.., .. } => Exit::Refused,
        Counts { warnings: 1.., .. } if strict => Exit::Failed,
        Counts { .. } => Exit::Good,
    };
    (exit, counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn checked(text: &str, strict: bool) -> Exit {
        let scratch = Scratch::new();
        let config = scratch.write("ringway.kdl", text);
        check(&Check { config, strict, json: false })
    }

    const GOOD: &str =
        "listener \"web\" { bind \"127.0.0.1:0\" }\nsite \"*\" { route \"/\" { respond 200 } }\n";

    #[test]
    fn a_good_file_is_status_0() {
        assert_eq!((checked(GOOD, false), checked(GOOD, true)), (Exit::Good, Exit::Good));
    }

    #[test]
    fn warnings_count_under_strict_only() {
        let unused = format!("{GOOD}upstream \"api\" {{ endpoint \"127.0.0.1:1\" }}\n");
        assert_eq!((checked(&unused, false), checked(&unused, true)), (Exit::Good, Exit::Failed));
    }

    #[test]
    fn errors_and_files_that_are_not_there_are_status_2() {
        assert_eq!(checked("listener \"web\" { bund \"127.0.0.1:0\" }", false), Exit::Refused);
        let nowhere = Check { config: "/nowhere/ringway.kdl".into(), strict: false, json: false };
        assert_eq!(check(&nowhere), Exit::Refused);
    }

    #[test]
    fn counts_are_read_aloud() {
        let counts = |errors, warnings| Counts { errors, warnings }.to_string();
        assert_eq!(counts(1, 2), "1 error, 2 warnings");
        assert_eq!(counts(0, 1), "0 errors, 1 warning");
    }
}
