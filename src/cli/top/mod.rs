//! `ringway top`: a running Ringway, live.
//!
//! ```text
//!   terminal.rs  keys and screen          view.rs  two samples become lines          here: the loop between them
//! ```

mod terminal;
mod view;

use crate::args::{AdminAddr, Top};
use crate::ask::{AskError, ask, tell};
use crate::endpoint::path_of;
use crate::exit::{Exit, complain, print};
use crate::status::{not_asked, place};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use terminal::{Key, Terminal};
use tokio::signal::unix::{SignalKind, signal};
use view::{Row, Sample, Wanted, frame};

pub(crate) fn top(args: &Top) -> Exit {
    let admin = match place(args.admin.as_ref(), args.config.as_deref()) {
        Ok(admin) => admin,
        Err(exit) => return exit,
    };
    let interval = Duration::from_millis(args.interval);
    let first = match sample(&admin) {
        Ok(first) => first,
        Err(error) => return not_asked(&admin, &error),
    };
    if args.once {
        thread::sleep(interval);
        return match sample(&admin) {
            Ok(now) => print(&format!("{}\n", frame(&first, &now, &Wanted::default(), (0, 0)).join("\n"))),
            Err(error) => not_asked(&admin, &error),
        };
    }
    let stop = match watch_signals() {
        Ok(stop) => stop,
        Err(error) => return complain(Exit::Failed, format_args!("cannot wait for signals: {error}"), None),
    };
    let terminal = match Terminal::take() {
        Ok(terminal) => terminal,
        Err(error) => {
            let hint = Some("`ringway top --once` prints one frame for scripts");
            return complain(Exit::Failed, format_args!("no terminal: {error}"), hint);
        }
    };
    let mut live = Live {
        admin,
        interval,
        terminal,
        wanted: Wanted { decorated: true, ..Wanted::default() },
        before: first.clone(),
        now: first,
        mode: Mode::Looking,
        trouble: String::new(),
    };
    let ended = live.run(&stop);
    drop(live);
    match ended {
        Ok(()) => Exit::Good,
        Err(error) => complain(Exit::Failed, format_args!("the terminal is gone: {error}"), None),
    }
}

/// Set by a signal that ends us, so that the terminal is given back first.
fn watch_signals() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let (mut terminate, mut interrupt, mut hangup) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    drop(guard);
    let told = Arc::clone(&stop);
    thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        told.store(true, Ordering::Release);
    })?;
    Ok(stop)
}

fn sample(admin: &AdminAddr) -> Result<Sample, AskError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Sample {
        at_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        status: ask(admin, "/v1/status")?,
        upstreams: ask(admin, "/v1/upstreams")?,
        traffic: ask(admin, "/v1/traffic")?,
        failures: ask(admin, "/v1/requests?kept=failure&limit=20")?,
    })
}

/// What keys mean at the moment.
enum Mode {
    Looking,
    /// The filter is being typed.
    Filtering,
    /// Waits for a yes to giving the endpoint another state.
    Asking(Row, &'static str),
}

struct Live {
    admin: AdminAddr,
    interval: Duration,
    terminal: Terminal,
    wanted: Wanted,
    before: Sample,
    now: Sample,
    mode: Mode,
    /// Why the last sample could not be read, or how a change went.
    trouble: String,
}

/// How often a screen that nobody touches looks for another size or a signal.
const GLANCE: Duration = Duration::from_millis(100);

impl Live {
    fn run(&mut self, stop: &AtomicBool) -> std::io::Result<()> {
        let mut due = Instant::now() + self.interval;
        let mut shown = (0, 0);
        let mut is_stale = true;
        while !stop.load(Ordering::Acquire) {
            if Instant::now() >= due {
                self.take_sample();
                due = Instant::now() + self.interval;
                is_stale = true;
            }
            let size = self.terminal.size();
            if is_stale || size != shown {
                self.show(size)?;
                (shown, is_stale) = (size, false);
            }
            let left = due.saturating_duration_since(Instant::now()).min(GLANCE);
            if let Some(key) = self.terminal.key(left)? {
                if !self.press(key) {
                    return Ok(());
                }
                is_stale = true;
            }
        }
        Ok(())
    }

    fn take_sample(&mut self) {
        match sample(&self.admin) {
            Ok(sample) => {
                self.before = std::mem::replace(&mut self.now, sample);
                if self.trouble.starts_with(NO_ANSWER) {
                    self.trouble.clear();
                }
            }
            // It may be restarting; what is shown stays, and says how it is.
            Err(error) => self.trouble = format!("{NO_ANSWER}: {error}"),
        }
    }

    fn show(&mut self, size: (usize, usize)) -> std::io::Result<()> {
        self.wanted.footer = match &self.mode {
            Mode::Looking if self.trouble.is_empty() => KEYS.to_owned(),
            Mode::Looking => format!("{}    {KEYS}", self.trouble),
            Mode::Filtering => format!("filter: {}_   Enter: keep, Esc: none", self.wanted.filter),
            Mode::Asking(row, state) => {
                format!("give {} of \"{}\" the state {state}? y/n", row.address, row.upstream)
            }
        };
        self.terminal.show(&frame(&self.before, &self.now, &self.wanted, size))
    }

    /// Does what the key means now. False ends it.
    fn press(&mut self, key: Key) -> bool {
        if key == Key::Quit {
            return false;
        }
        match (&self.mode, key) {
            (Mode::Filtering, Key::Char(c)) if self.wanted.filter.len() < FILTER_BYTES_MAX => {
                self.wanted.filter.push(c)
            }
            (Mode::Filtering, Key::Backspace) => drop(self.wanted.filter.pop()),
            (Mode::Filtering, Key::Enter) => self.mode = Mode::Looking,
            (Mode::Filtering, Key::Escape) => {
                self.wanted.filter.clear();
                self.mode = Mode::Looking;
            }
            (Mode::Filtering, _) => {}
            (Mode::Asking(..), Key::Char('y' | 'Y')) => self.change(),
            (Mode::Asking(..), _) => self.mode = Mode::Looking,
            (Mode::Looking, Key::Char('q')) => return false,
            (Mode::Looking, Key::Char('s')) => self.wanted.sort = self.wanted.sort.next(),
            (Mode::Looking, Key::Char('f' | '/')) => self.mode = Mode::Filtering,
            (Mode::Looking, Key::Char('d')) => self.ask_for("drain"),
            (Mode::Looking, Key::Char('r')) => self.ask_for("ready"),
            (Mode::Looking, Key::Down | Key::Char('j')) => self.wanted.marked += 1,
            (Mode::Looking, Key::Up | Key::Char('k')) => {
                self.wanted.marked = self.wanted.marked.saturating_sub(1)
            }
            (Mode::Looking, _) => {}
        }
        let count = view::endpoints(&self.before, &self.now, &self.wanted).len();
        self.wanted.marked = self.wanted.marked.min(count.saturating_sub(1));
        true
    }

    fn ask_for(&mut self, state: &'static str) {
        let rows = view::endpoints(&self.before, &self.now, &self.wanted);
        if let Some(row) = rows.into_iter().nth(self.wanted.marked) {
            self.mode = Mode::Asking(row, state);
        }
    }

    /// Somebody has said yes.
    fn change(&mut self) {
        let Mode::Asking(row, state) = std::mem::replace(&mut self.mode, Mode::Looking) else { return };
        let answer = tell(&self.admin, &path_of(&row.upstream, &row.address), &json!({ "state": state }));
        self.trouble = match answer {
            Ok(_) => format!("{} has the state {state} now", row.address),
            Err(error) => format!("nothing was changed: {error}"),
        };
        self.take_sample();
    }
}

const NO_ANSWER: &str = "no answer";
const KEYS: &str = "q quit  s sort  f filter  up/down mark  d drain  r ready";
const FILTER_BYTES_MAX: usize = 60;
