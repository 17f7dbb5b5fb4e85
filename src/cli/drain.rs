//! `ringway drain`: tells a running Ringway to stop gracefully, perhaps after a pause, or not to after all.

use crate::args::Drain;
use crate::ask::{AskError, tell};
use crate::exit::{Exit, complain, print};
use crate::status::{not_asked, place};
use serde_json::{Value, json};

pub(crate) fn drain(args: &Drain) -> Exit {
    let admin = match place(args.admin.as_ref(), args.config.as_deref()) {
        Ok(admin) => admin,
        Err(exit) => return exit,
    };
    match tell(&admin, "/v1/drain", &order(args)) {
        Ok(answer) if args.json => print(&format!("{answer}\n")),
        Ok(answer) => print(&for_people(&answer)),
        Err(AskError::Status { problem, .. }) if args.json => {
            let printed = print(&format!("{problem}\n"));
            if printed == Exit::Good { Exit::Failed } else { printed }
        }
        Err(AskError::Status { detail, .. }) => complain(Exit::Failed, detail, None),
        Err(error) => not_asked(&admin, &error),
    }
}

fn order(args: &Drain) -> Value {
    if args.undo { json!({ "undo": true }) } else { json!({ "pause": args.pause.unwrap_or(0) }) }
}

fn for_people(answer: &Value) -> String {
    match (answer["draining"].as_bool(), answer["pause_seconds"].as_u64()) {
        (Some(false), _) => "goes on; /ready answers as before\n".to_owned(),
        (_, None | Some(0)) => {
            "draining: nothing new is accepted, what was accepted is finished\n".to_owned()
        }
        (_, Some(pause)) => format!(
            "not ready any more; connections are accepted for another {pause} s (`ringway drain --undo` takes it back)\n"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_what_is_sent_and_told() {
        let args = |pause, undo| Drain { admin: None, config: None, pause, undo, json: false };
        assert_eq!(order(&args(None, false)), json!({ "pause": 0 }));
        assert_eq!(order(&args(Some(5), false)), json!({ "pause": 5 }));
        assert_eq!(order(&args(None, true)), json!({ "undo": true }));
        assert!(for_people(&json!({ "draining": true, "pause_seconds": 5 })).contains("another 5 s"));
        assert!(for_people(&json!({ "draining": true, "pause_seconds": 0 })).contains("nothing new"));
        assert!(for_people(&json!({ "draining": false })).contains("goes on"));
    }
}
