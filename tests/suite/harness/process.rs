//! A child process of a test: started, watched through its standard error, ended by its own id.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{PATIENCE, pause};

/// A running program whose standard error is collected line by line.
pub(crate) struct Process {
    child: Child,
    said: Arc<Said>,
}

#[derive(Default)]
struct Said {
    lines: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

impl Process {
    /// Starts `program`; it is told to end when the thread that started it ends before it.
    #[track_caller]
    pub(crate) fn start(program: &str, args: &[&str]) -> Process {
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", program])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {program} through setpriv: {error}"));
        let stderr = child.stderr.take().expect("standard error is piped");
        let said = Arc::new(Said::default());
        let listener = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                listener.note(|(lines, _)| lines.push(line));
            }
            listener.note(|(_, ended)| *ended = true);
        });
        Process { child, said }
    }

    /// Process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything on standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.said.lines.lock().unwrap_or_else(PoisonError::into_inner).0.join("\n")
    }

    /// Everything on standard error of a process that has ended.
    pub(crate) fn last_words(&self) -> String {
        let held = self.said.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.said.changed.wait_timeout_while(held, PATIENCE, |(_, ended)| !*ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.0.join("\n")
    }

    /// Waits for a line from which `pick` makes something.
    #[track_caller]
    pub(crate) fn wait_for_line<T>(&self, what: &str, pick: impl Fn(&str) -> Option<T>) -> T {
        match self.try_line(&pick) {
            Some(found) => found,
            None => panic!("never said on standard error: {what}; it said:\n{}", self.stderr()),
        }
    }

    fn try_line<T>(&self, pick: &impl Fn(&str) -> Option<T>) -> Option<T> {
        let find = |lines: &[String]| lines.iter().find_map(|line| pick(line));
        let held = self.said.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |(lines, ended): &mut (Vec<String>, bool)| find(lines).is_none() && !*ended;
        let waited = self.said.changed.wait_timeout_while(held, PATIENCE, waiting);
        find(&waited.unwrap_or_else(PoisonError::into_inner).0.0)
    }

    /// Sends a signal by name (`TERM`, `KILL`, `USR1`) to this process alone.
    pub(crate) fn signal(&self, name: &str) {
        let script = format!("kill -{name} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status();
        assert!(sent.is_ok(), "no shell to send a signal with");
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + 2 * PATIENCE;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            pause();
        }
        None
    }

    /// True while the process has not ended.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// User and system time used so far; zero once the process is gone.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        // Fields 11 and 12 after the name, in hundredths of a second.
        let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok());
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }

    /// Open descriptors right now.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).map(Iterator::count).unwrap_or(0)
    }
}

impl Said {
    fn note(&self, change: impl FnOnce(&mut (Vec<String>, bool))) {
        change(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
