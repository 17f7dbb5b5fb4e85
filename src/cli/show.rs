//! `ringway config …`: one configuration in other forms. Only `fmt --write` changes anything, and only the file itself.

use crate::args::Config;
use crate::check;
use crate::exit::{Exit, complain, print, say};
use std::io;
use std::path::Path;

pub(crate) fn show(what: &Config) -> Exit {
    match what {
        Config::ToJson { config } => with(config, |config| config.to_json()),
        Config::Show { config, effective: false, .. } => with(config, |config| config.to_json()),
        Config::Show { config, json: true, .. } => {
            with(config, |config| match serde_json::to_string_pretty(&config.effective()) {
                Ok(text) => format!("{text}\n"),
                // It consists of strings; there is nothing that JSON could not hold.
                Err(error) => format!("{error}\n"),
            })
        }
        Config::Show { config, .. } => with(config, |config| config.effective().to_string()),
        Config::Schema => print(&format!("{:#}\n", config::schema())),
        Config::Fmt { config, write, check } => lay_out(config, *write, *check),
    }
}

/// Prints what `form` makes of a configuration that loads.
fn with(file: &Path, form: impl FnOnce(&config::Config) -> String) -> Exit {
    match check::load(file) {
        Ok(loaded) => {
            check::report(&loaded.warnings);
            print(&form(&loaded.config))
        }
        Err(problems) => {
            check::report(&problems.0);
            complain(Exit::Refused, format_args!("{} does not load", file.display()), None)
        }
    }
}

/// Only the layout: a file that would not load may still be laid out, as long as it is KDL.
fn lay_out(file: &Path, write: bool, check_only: bool) -> Exit {
    let at = |error: io::Error| complain(Exit::Failed, format_args!("{}: {error}", file.display()), None);
    if file.extension().is_some_and(|extension| extension == "json") {
        let step = Some("`jq . FILE` lays JSON out");
        return complain(Exit::Refused, format_args!("{} is JSON; fmt is for KDL", file.display()), step);
    }
    let source = match std::fs::read_to_string(file) {
        Ok(source) => source,
        Err(error) => return at(error),
    };
    let laid_out = match config::format(&source, &file.display().to_string()) {
        Ok(text) => text,
        Err(problems) => {
            check::report(&problems.0);
            return Exit::Refused;
        }
    };
    match (write, check_only) {
        (_, true) if laid_out == source => Exit::Good,
        (_, true) => {
            say(format_args!(
                "{}: the layout is another; `ringway config fmt --write` changes it",
                file.display()
            ));
            Exit::Failed
        }
        (true, _) if laid_out == source => Exit::Good,
        (true, _) => replace(file, &laid_out).map_or_else(at, |()| Exit::Good),
        (false, _) => print(&laid_out),
    }
}

/// Puts `text` in the place of the file at once: whoever reads it meanwhile gets the old or the new text, never half.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    // Through a link the file behind it is meant.
    let file = file.canonicalize()?;
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = file.with_file_name(name);
    let written = std::fs::write(&new, text)
        .and_then(|()| std::fs::set_permissions(&new, std::fs::metadata(&file)?.permissions()))
        .and_then(|()| std::fs::rename(&new, &file));
    if written.is_err() {
        // The error that matters is the first one.
        let _ = std::fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    const UNEVEN: &str =
        "listener \"web\" {\n  bind \"127.0.0.1:0\"\n}\nsite \"*\" { route \"/\" { respond 200; }; }\n";

    fn fmt(config: &Path, write: bool, check: bool) -> Exit {
        show(&Config::Fmt { config: config.to_owned(), write, check })
    }

    #[test]
    fn a_layout_is_checked_changed_and_then_kept() {
        let scratch = Scratch::new();
        let file = scratch.write("a.kdl", UNEVEN);
        assert_eq!(fmt(&file, false, true), Exit::Failed);
        assert_eq!(fmt(&file, true, false), Exit::Good);
        assert_eq!(fmt(&file, false, true), Exit::Good);
        let text = std::fs::read_to_string(&file).expect("it is still there");
        assert!(text.contains("\n    bind"), "{text}");
        let left = std::fs::read_dir(scratch.path()).expect("ours").count();
        assert_eq!(left, 1, "nothing else is left in the directory");
    }

    #[test]
    fn what_is_no_kdl_is_not_laid_out() {
        let scratch = Scratch::new();
        assert_eq!(fmt(&scratch.write("a.json", "{}"), false, true), Exit::Refused);
        assert_eq!(fmt(&scratch.write("b.kdl", "site {"), false, true), Exit::Refused);
        assert_eq!(fmt(Path::new("/nowhere/c.kdl"), false, true), Exit::Failed);
    }

    #[test]
    fn forms_of_a_file_that_does_not_load_are_refused() {
        let scratch = Scratch::new();
        let config = scratch.write("a.kdl", "nonsense");
        assert_eq!(show(&Config::ToJson { config: config.clone() }), Exit::Refused);
        assert_eq!(show(&Config::Show { config, effective: true, json: false }), Exit::Refused);
    }
}
