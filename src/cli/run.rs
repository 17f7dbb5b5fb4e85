//! `ringway run`: a configuration from a file or from the command line, served until a signal.

use crate::args::{Run, ShortForm};
use crate::check;
use crate::exit::{Exit, complain, say};
use crate::serve::{Main, Unwatched};
use crate::start::{self, From};
use config::{Address, Loaded, NoAddress, Problems, Target, model};
use std::path::Path;
use std::time::Duration;

pub(crate) fn run(args: Run) -> Exit {
    let mut from = From {
        file: args.config.as_deref(),
        watch: args.watch,
        last_good: args.last_good.as_deref(),
        broken: None,
    };
    let loaded = match &args.config {
        Some(file) => of_file(file, &mut from),
        None => from_words(&args.short).map_err(|error| complain(Exit::Refused, error, None)),
    };
    let pause = Duration::from_secs(args.drain_pause.unwrap_or(0));
    serve(loaded, from, pause).unwrap_or_else(|exit| exit)
}

fn serve(loaded: Result<Loaded, Exit>, from: From<'_>, pause: Duration) -> Result<Exit, Exit> {
    let loaded = loaded?;
    let main = Main::new().map_err(|error| complain(Exit::Failed, format_args!("signals: {error}"), None))?;
    let node = start::start(loaded, from)?;
    Ok(main.serve(node, pause, &mut Unwatched))
}

/// What the file says or, if it is broken and that was asked for, what was in force last.
fn of_file(file: &Path, from: &mut From<'_>) -> Result<Loaded, Exit> {
    let refused = |problems: &Problems, name: &Path| {
        check::report(&problems.0);
        complain(Exit::Refused, format_args!("{} does not load", name.display()), None)
    };
    let loaded = check::load(file);
    let Some(directory) = from.last_good else {
        return loaded.map_err(|problems| refused(&problems, file));
    };
    // Some problems only show in the compiled form.
    let problems = match loaded.and_then(|loaded| check::compile(loaded.clone(), 1).map(|_| loaded)) {
        Ok(loaded) => return Ok(loaded),
        Err(problems) => problems,
    };
    refused(&problems, file);
    let kept = control_plane::last_good(directory, file).map_err(|problems| refused(&problems, directory))?;
    say(format_args!("starting with the last good configuration, kept in {}", directory.display()));
    from.broken = Some(format!("{} does not load", file.display()));
    Ok(kept)
}

/// The configuration that the short form stands for.
fn from_words(words: &ShortForm) -> Result<Loaded, NoAddress> {
    let listen = words.listen.iter().map(|text| text.parse()).collect::<Result<Vec<Address>, _>>()?;
    let tcp = words.tcp.iter().map(|text| text.parse()).collect::<Result<Vec<Address>, _>>()?;
    let upstream = words.upstream.iter().map(|text| text.parse()).collect::<Result<Vec<Target>, _>>()?;
    let mut config = config::from_args_with_tcp(&listen, &tcp, &upstream);
    if let Some(admin) = &words.admin {
        config.admin.binds = vec![admin.parse()?];
    }
    if let Some(count) = words.workers {
        config.workers = model::Workers::Count(count);
    }
    config.io = match words.io.as_deref() {
        Some("io_uring") => model::Io::IoUring,
        Some("epoll") => model::Io::Epoll,
        _ => model::Io::Auto,
    };
    Ok(Loaded { config, warnings: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_is_a_configuration() {
        let words = ShortForm {
            listen: vec!["127.0.0.1:8080".into(), "unix:/run/web.sock".into()],
            upstream: vec!["127.0.0.1:9001".into(), "127.0.0.1:9002".into()],
            admin: Some("127.0.0.1:9901".into()),
            workers: std::num::NonZeroU16::new(3),
            io: Some("epoll".into()),
            tcp: vec!["127.0.0.1:5432".into()],
        };
        let loaded = from_words(&words).expect("all of it is well-formed");
        let ready = check::compile(loaded, 3).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(ready.snapshot.listeners[0].binds.len(), 2);
        assert_eq!(ready.snapshot.listeners[1].binds.len(), 1);
        assert_eq!(ready.snapshot.upstreams[0].endpoints.len(), 2);
        assert_eq!((ready.config.io, ready.config.admin.binds.len()), (model::Io::Epoll, 1));
    }

    #[test]
    fn words_that_are_no_addresses_are_refused() {
        let words = ShortForm { listen: vec!["8080".into()], upstream: vec![], ..ShortForm::default() };
        let error = from_words(&words).expect_err("8080 is no address").to_string();
        assert!(error.contains("\"8080\""), "{error}");
    }

    #[test]
    fn passthrough_needs_no_http_beside_it() {
        let words = ShortForm {
            tcp: vec!["127.0.0.1:5432".into()],
            upstream: vec!["127.0.0.1:9001".into()],
            ..ShortForm::default()
        };
        let loaded = from_words(&words).expect("well-formed");
        assert!(loaded.config.problems().is_empty(), "{:?}", loaded.config.problems());
        let ready = check::compile(loaded, 1).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(ready.snapshot.listeners[0].passthrough().is_some());
        assert!(ready.snapshot.routes.is_empty());
    }
}
