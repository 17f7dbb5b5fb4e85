//! Where log lines go: a file or standard output, with what it takes to lose and tear nothing.
//!
//! Lines are collected and written in batches. A batch that was written in part is continued where it stopped, so a
//! full disk tears no line. When nothing can be written the sink pauses, longer each time, and says so once; the caller
//! decides what to drop meanwhile.
//!
//! ```text
//!           write fails                     pause over
//!   Open ───────────────▶ Paused(until) ──────────────▶ opened or written again: Open, or Paused for longer
//! ```

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What takes the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Stdout,
    /// Appended; created with mode 0640.
    File(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Stdout => f.write_str("standard output"),
            Target::File(path) => path.display().fmt(f),
        }
    }
}

/// The open log and the lines that are not written yet.
#[derive(Debug)]
pub(super) struct Sink<O = Output> {
    target: Target,
    open: fn(&Target) -> io::Result<O>,
    output: Option<O>,
    /// Whole lines, of which the first `written` bytes are out.
    pending: Vec<u8>,
    written: usize,
    /// Some while the last attempt to open or write failed.
    trouble: Option<Trouble>,
}

/// A log that cannot be written at the moment.
#[derive(Debug)]
struct Trouble {
    pause: Duration,
    until: Instant,
}

impl Sink {
    /// Opens the log. A file that cannot be opened is an error here, because it is most likely a mistake in the
    /// configuration; a pipe without a reader is not.
    pub(super) fn open(target: Target) -> io::Result<Sink> {
        let output = match Output::open(&target) {
            Ok(output) => Some(output),
            Err(error) if error.raw_os_error() == Some(ENXIO) => None,
            Err(error) => return Err(error),
        };
        Ok(Sink::new(target, Output::open, output))
    }
}

impl<O: Write + Outlet> Sink<O> {
    fn new(target: Target, open: fn(&Target) -> io::Result<O>, output: Option<O>) -> Self {
        Sink { target, open, output, pending: Vec::with_capacity(BATCH_BYTES * 2), written: 0, trouble: None }
    }

    /// Where the next line goes. The caller appends whole lines, and only while [`Sink::has_room`].
    pub(super) fn lines(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    /// Whether another batch may be collected. Never while the log is in trouble and a batch waits.
    pub(super) fn has_room(&self) -> bool {
        self.pending.len() < BATCH_BYTES
    }

    /// Whether the last attempt failed.
    pub(super) fn is_in_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// Bytes of lines that are not written yet.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.pending.len() - self.written
    }

    /// Writes what waits, unless a pause after a failure is not over yet. `report` is called when trouble begins and
    /// when it ends.
    pub(super) fn flush(&mut self, now: Instant, report: &mut dyn FnMut(Event<'_>)) {
        if self.trouble.as_ref().is_some_and(|trouble| now < trouble.until) {
            return;
        }
        if self.waiting_bytes() == 0 && self.trouble.is_none() {
            return;
        }
        self.follow_rotation();
        match self.write() {
            Ok(()) => {
                if self.trouble.take().is_some() {
                    report(Event::Recovered(&self.target));
                }
            }
            Err(error) => {
                let pause = match &self.trouble {
                    None => {
                        report(Event::Failed(&self.target, &error));
                        PAUSE_MIN
                    }
                    Some(trouble) => (trouble.pause * 2).min(PAUSE_MAX),
                };
                self.trouble = Some(Trouble { pause, until: now + pause });
            }
        }
    }

    /// Lets the next flush try at once, whatever failed before.
    pub(super) fn end_pause(&mut self) {
        if let Some(trouble) = &mut self.trouble {
            trouble.until = Instant::now();
        }
    }

    /// Closes the log and opens it again, as after a rotation. What waits goes to the old file first; if that does not
    /// work, the whole of its first unfinished line goes to the new one.
    pub(super) fn reopen(&mut self, now: Instant, report: &mut dyn FnMut(Event<'_>)) {
        if matches!(self.target, Target::Stdout) {
            return;
        }
        self.trouble = None;
        if self.output.is_some() {
            self.flush(now, report);
        }
        self.restart_line();
        self.output = None;
        self.trouble = None;
        match (self.open)(&self.target) {
            Ok(output) => self.output = Some(output),
            Err(error) => {
                report(Event::Failed(&self.target, &error));
                self.trouble = Some(Trouble { pause: PAUSE_MIN, until: now + PAUSE_MIN });
            }
        }
    }

    /// Closes a file that was renamed or deleted by somebody who did not tell us; it is made anew when it is written.
    fn follow_rotation(&mut self) {
        let Target::File(path) = &self.target else { return };
        // A line that is out in part must be finished where it was begun.
        if self.written == 0 && self.output.as_ref().is_some_and(|output| !output.is_at(path)) {
            self.output = None;
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let output = match &mut self.output {
            Some(output) => output,
            empty => empty.insert((self.open)(&self.target)?),
        };
        while self.written < self.pending.len() {
            match output.write(&self.pending[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.pending.clear();
        self.written = 0;
        Ok(())
    }

    /// Forgets lines that are out, and puts the first unfinished one back as a whole.
    fn restart_line(&mut self) {
        let line =
            self.pending[..self.written].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.pending.drain(..line);
        self.written = 0;
    }
}

/// What an operator should hear of a log.
#[derive(Debug)]
pub(super) enum Event<'a> {
    Failed(&'a Target, &'a io::Error),
    Recovered(&'a Target),
}

/// What the sink asks of its output besides writing.
pub(super) trait Outlet {
    /// Whether `path` still names what is open here.
    fn is_at(&self, path: &Path) -> bool;
}

/// An open log. Standard output is written through a descriptor of our own, past the line buffer of `std`, which would
/// lose count of what is out when a write fails.
#[derive(Debug)]
pub(super) struct Output(File);

impl Output {
    fn open(target: &Target) -> io::Result<Output> {
        match target {
            Target::Stdout => io::stdout().as_fd().try_clone_to_owned().map(File::from).map(Output),
            Target::File(path) => {
                // Not blocking matters for pipes only: one without a reader must not hold the writer up.
                let mut options = OpenOptions::new();
                options.append(true).create(true).mode(0o640).custom_flags(O_NONBLOCK);
                options.open(path).map(Output)
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Outlet for Output {
    fn is_at(&self, path: &Path) -> bool {
        match (self.0.metadata(), std::fs::metadata(path)) {
            (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
            (_, Err(error)) => error.kind() != io::ErrorKind::NotFound,
            (Err(_), _) => true,
        }
    }
}

/// A batch is written when it has grown to this, or when nothing more waits.
pub(super) const BATCH_BYTES: usize = 256 << 10;

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// "No such device or address": a pipe that nobody reads. The number is the same on every Linux.
const ENXIO: i32 = 6;
/// The number is the same on every Linux that we build for (x86-64, AArch64, RISC-V).
const O_NONBLOCK: i32 = 0o4000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::Command;
    use std::sync::Mutex;

    /// A disk with so many bytes left, and what it holds.
    static DISK: Mutex<(usize, Vec<u8>)> = Mutex::new((0, Vec::new()));
    /// The tests share the disk and so take turns.
    static TURN: Mutex<()> = Mutex::new(());

    #[derive(Debug)]
    struct SmallDisk;

    impl Write for SmallDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = DISK.lock().unwrap();
            let taken = bytes.len().min(disk.0);
            if taken == 0 {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            disk.0 -= taken;
            disk.1.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Outlet for SmallDisk {
        fn is_at(&self, _: &Path) -> bool {
            true
        }
    }

    fn small_disk(bytes_left: usize) -> Sink<SmallDisk> {
        *DISK.lock().unwrap() = (bytes_left, Vec::new());
        Sink::new(Target::File("log".into()), |_| Ok(SmallDisk), Some(SmallDisk))
    }

    fn text() -> String {
        String::from_utf8(DISK.lock().unwrap().1.clone()).unwrap()
    }

    #[test]
    fn a_line_that_a_full_disk_cut_is_finished_when_there_is_room_again() {
        let _turn = TURN.lock();
        let mut sink = small_disk(10);
        let (now, mut events) = (Instant::now(), 0);
        sink.lines().extend_from_slice(b"first line\nsecond line\n");
        sink.flush(now, &mut |_| events += 1);
        sink.flush(now, &mut |_| events += 1);
        assert!(sink.is_in_trouble());
        assert_eq!(
            (text().as_str(), events),
            ("first line", 1),
            "one report, and no attempt during the pause"
        );
        DISK.lock().unwrap().0 = 1_000;
        sink.flush(now + PAUSE_MIN, &mut |event| assert!(matches!(event, Event::Recovered(_))));
        assert_eq!(text(), "first line\nsecond line\n");
        assert!(!sink.is_in_trouble());
        assert_eq!(sink.waiting_bytes(), 0);
    }

    #[test]
    fn a_line_cut_before_a_reopen_is_whole_in_the_new_file() {
        let _turn = TURN.lock();
        let mut sink = small_disk(15);
        let now = Instant::now();
        sink.lines().extend_from_slice(b"first line\nsecond line\n");
        sink.flush(now, &mut |_| ());
        sink.reopen(now, &mut |_| ());
        *DISK.lock().unwrap() = (1_000, Vec::new());
        sink.flush(now, &mut |_| ());
        assert_eq!(text(), "second line\n");
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        let _turn = TURN.lock();
        let mut sink = small_disk(0);
        let mut now = Instant::now();
        sink.lines().extend_from_slice(b"line\n");
        let mut pauses = Vec::new();
        for _ in 0..9 {
            sink.flush(now, &mut |_| ());
            let trouble = sink.trouble.as_ref().unwrap();
            pauses.push(trouble.pause);
            now = trouble.until;
        }
        assert_eq!(pauses[..3], [PAUSE_MIN, PAUSE_MIN * 2, PAUSE_MIN * 4]);
        assert_eq!(pauses[8], PAUSE_MAX);
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("ringway-sink-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_file_that_was_renamed_or_deleted_is_made_anew_without_being_told() {
        let folder = folder("rotation");
        let (path, old) = (folder.join("access.log"), folder.join("access.log.1"));
        let mut sink = Sink::open(Target::File(path.clone())).unwrap();
        let now = Instant::now();
        let write = |sink: &mut Sink, line: &[u8]| {
            sink.lines().extend_from_slice(line);
            sink.flush(now, &mut |_| ());
        };
        write(&mut sink, b"one\n");
        std::fs::rename(&path, &old).unwrap();
        write(&mut sink, b"two\n");
        write(&mut sink, b"three\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"two\nthree\n");
        std::fs::remove_file(&path).unwrap();
        write(&mut sink, b"four\n");
        assert_eq!(std::fs::read(&old).unwrap(), b"one\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"four\n");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_pipe_without_a_reader_is_waited_for_without_blocking() {
        let folder = folder("pipe");
        let path = folder.join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let mut sink = Sink::open(Target::File(path.clone())).unwrap();
        let mut now = Instant::now();
        sink.lines().extend_from_slice(b"line\n");
        sink.flush(now, &mut |_| ());
        assert!(sink.is_in_trouble());
        let reader = std::thread::spawn(move || {
            let mut line = [0; 5];
            File::open(path).unwrap().read_exact(&mut line).unwrap();
            line
        });
        let deadline = Instant::now() + Duration::from_secs(10);
        while sink.is_in_trouble() {
            assert!(Instant::now() < deadline, "the reader never came");
            now += PAUSE_MAX;
            sink.flush(now, &mut |_| ());
            std::thread::yield_now();
        }
        assert_eq!(&reader.join().unwrap(), b"line\n");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
