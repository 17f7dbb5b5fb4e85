//! `ringway prove`: every route that can be reached without saying who one is.

use crate::args::Prove;
use crate::check;
use crate::exit::{Exit, print};
use config::Problems;
use serde_json::json;
use std::fmt::Write;

pub(crate) fn prove(args: &Prove) -> Exit {
    let loaded = match check::load(&args.config) {
        Ok(loaded) => loaded,
        Err(Problems(problems)) => {
            check::report(&problems);
            return Exit::Refused;
        }
    };
    let (open, routes) = config::prove(&loaded.config);
    let text = if args.json {
        format!("{}\n", json!({ "routes": routes, "open": open }))
    } else {
        let mut text = String::new();
        for one in &open {
            // A `String` takes everything.
            let _ = write!(text, "{}: site {}, route {}: {}", one.at, one.site, one.route, one.why);
            if !one.only.is_empty() {
                let _ = write!(text, "; only {}", one.only.join(", or "));
            }
            text.push('\n');
        }
        let _ = writeln!(text, "{} of {routes} routes can be reached without a credential", open.len());
        text
    };
    match print(&text) {
        Exit::Good if args.strict && !open.is_empty() => Exit::Failed,
        printed => printed,
    }
}
