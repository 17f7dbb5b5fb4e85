//! Child processes on a chosen core, and what `/proc` says they cost.
//!
//! Started through `setpriv --pdeathsig` and `taskset`, so that a contender never outlives the comparison and
//! never leaves its core. Every process is ended by its own id.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::{Failure, at};

/// A running program and everything that it started.
pub(crate) struct Process {
    name: String,
    child: Child,
    stderr: std::path::PathBuf,
}

impl Process {
    /// Starts `program` pinned to `core`; its standard error goes to `dir/NAME.stderr`.
    pub(crate) fn start(
        name: &str,
        core: usize,
        program: &Path,
        args: &[&str],
        dir: &Path,
    ) -> Result<Process, Failure> {
        let stderr = dir.join(format!("{name}.stderr"));
        let sink = fs::File::create(&stderr).map_err(at(&stderr))?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "taskset", "-c", &core.to_string()])
            .arg(program)
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(sink)
            .spawn()
            .map_err(|source| Failure::Spawn { program: "setpriv".into(), source })?;
        Ok(Process { name: name.into(), child, stderr })
    }

    /// The error to report when the process has ended or does not answer, with the tail of what it said.
    pub(crate) fn not_serving(&mut self) -> Failure {
        let status = match self.child.try_wait() {
            Ok(Some(status)) => format!("ended with {status}"),
            Ok(None) => "runs but does not answer".into(),
            Err(error) => error.to_string(),
        };
        let said = fs::read_to_string(&self.stderr).unwrap_or_default();
        let tail: Vec<&str> = said.lines().rev().take(5).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        Failure::NotServing { name: self.name.clone(), detail: format!("{status}; {}", tail.join(" / ")) }
    }

    /// True once the process has ended.
    pub(crate) fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// User plus system time of the process and all its living descendants.
    pub(crate) fn cpu(&self) -> Duration {
        self.tree().iter().filter_map(|pid| cpu_of(&pid.to_string())).map(|cpu| cpu.own).sum()
    }

    /// Proportional set size of the process and all its living descendants, in bytes.
    pub(crate) fn pss_bytes(&self) -> Result<u64, Failure> {
        let mut total = 0;
        for pid in self.tree() {
            let path = format!("/proc/{pid}/smaps_rollup");
            let text = fs::read_to_string(&path).map_err(at(Path::new(&path)))?;
            total += pss_in(&text).ok_or(Failure::Unreadable { what: "Pss", text })?;
        }
        Ok(total)
    }

    /// Own process id and those of all descendants. Read anew each time: a master may replace its worker.
    fn tree(&self) -> Vec<u32> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            if let Some(parent) = stat_fields(&stat).get(1).and_then(|field| field.parse().ok()) {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut tree = vec![self.child.id()];
        let mut next = 0;
        while let Some(pid) = tree.get(next) {
            let found = children.remove(pid).unwrap_or_default();
            tree.extend(found);
            next += 1;
        }
        tree
    }
}

impl Drop for Process {
    /// Asks the process to end, then insists on it and on what it left behind.
    fn drop(&mut self) {
        let tree = self.tree();
        signal("TERM", self.child.id());
        let deadline = Instant::now() + Duration::from_secs(3);
        while !self.ended() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        if !self.ended() {
            for pid in tree {
                signal("KILL", pid);
            }
            let _ = self.child.wait();
        }
    }
}

/// Sends a signal through the shell's own `kill`, which exists wherever a shell does.
fn signal(name: &str, pid: u32) {
    let script = format!("kill -{name} {pid}");
    let _ = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status();
}

/// CPU time of one process.
pub(crate) struct Cpu {
    /// User plus system time of its own threads, the ended ones included.
    pub(crate) own: Duration,
    /// The same of those children that it has waited for.
    pub(crate) waited_for: Duration,
}

/// CPU time of `/proc/PID` (or `self`); None once the process is gone.
pub(crate) fn cpu_of(pid: &str) -> Option<Cpu> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = stat_fields(&stat);
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Cpu {
        own: Duration::from_millis((ticks(11)? + ticks(12)?) * TICK_MS),
        waited_for: Duration::from_millis((ticks(13)? + ticks(14)?) * TICK_MS),
    })
}

/// Time that all cores have spent on anything but idling and waiting for disks.
pub(crate) fn machine_busy() -> Result<Duration, Failure> {
    let path = Path::new("/proc/stat");
    let text = fs::read_to_string(path).map_err(at(path))?;
    let busy = text.lines().next().map(|line| {
        let fields: Vec<u64> =
            line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal: everything but fields 3 and 4.
        fields.iter().take(8).sum::<u64>() - fields.iter().skip(3).take(2).sum::<u64>()
    });
    busy.map(|ticks| Duration::from_millis(ticks * TICK_MS))
        .ok_or(Failure::Unreadable { what: "CPU time", text: "/proc/stat".into() })
}

/// Fields of `/proc/PID/stat` from the state on: the name before it may contain anything.
fn stat_fields(stat: &str) -> Vec<&str> {
    stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default()
}

fn pss_in(smaps_rollup: &str) -> Option<u64> {
    let line = smaps_rollup.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// `/proc` counts in hundredths of a second (USER_HZ, fixed at 100 on every Linux that we run on).
const TICK_MS: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let fields = stat_fields("42 (a) b (c) S 7 42 42 0");
        assert_eq!(fields.first(), Some(&"S"));
        assert_eq!(fields.get(1), Some(&"7"));
    }

    #[test]
    fn the_total_and_not_the_anonymous_share_is_taken_as_pss() {
        let text = "5581-7ffd ---p 0 00:00 0 [rollup]\nRss: 900 kB\nPss:   12 kB\nPss_Anon:  3 kB\n";
        assert_eq!(pss_in(text), Some(12 * 1024));
    }

    #[test]
    fn our_own_cpu_time_is_readable() {
        assert!(cpu_of("self").is_some());
        assert!(machine_busy().is_ok());
    }
}
