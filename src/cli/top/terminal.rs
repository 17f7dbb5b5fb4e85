//! The terminal: keys without echo, a second screen, and everything as it was in the end.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{self, OptionalActions, Termios};
use std::fmt::Write as _;
use std::io::{self, Read, Stdin, Write, stdin, stdout};
use std::time::{Duration, Instant};

/// The terminal in our hands; dropping it gives it back, also when the stack unwinds.
#[derive(Debug)]
pub(super) struct Terminal {
    stdin: Stdin,
    before: Termios,
    keys: Vec<u8>,
}

/// What somebody pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Enter,
    Escape,
    Backspace,
    Up,
    Down,
    /// Ctrl-C, or the end of the input.
    Quit,
}

/// The second screen without a cursor; a screen that was cut off does not wrap.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

impl Terminal {
    /// Takes the terminal over; an error when standard input or output is none.
    pub(super) fn take() -> io::Result<Terminal> {
        let stdin = stdin();
        if !termios::isatty(stdout()) {
            return Err(io::Error::other("standard output is no terminal"));
        }
        let before = termios::tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        let terminal = Terminal { stdin, before, keys: Vec::new() };
        write(ENTER)?;
        Ok(terminal)
    }

    /// Columns and rows now.
    pub(super) fn size(&self) -> (usize, usize) {
        let size = termios::tcgetwinsize(stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        size.map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()))
    }

    /// Replaces what is shown. Each line is written over the old one, so that nothing flickers.
    pub(super) fn show(&self, lines: &[String]) -> io::Result<()> {
        let mut frame = String::from("\x1b[H");
        for (row, line) in lines.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(frame, "{}{line}\x1b[0m\x1b[K", if row > 0 { "\r\n" } else { "" });
        }
        frame.push_str("\x1b[J");
        write(&frame)
    }

    /// The next key, if one comes within `patience`.
    pub(super) fn key(&mut self, patience: Duration) -> io::Result<Option<Key>> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some((key, length)) = understood(&self.keys) {
                self.keys.drain(..length);
                if key.is_some() {
                    return Ok(key);
                }
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // The rest of an escape sequence comes at once, or it was the key of that name.
            let left = if self.keys.is_empty() { left } else { left.min(Duration::from_millis(30)) };
            if !self.wait(left)? {
                if self.keys.is_empty() {
                    return Ok(None);
                }
                self.keys.clear();
                return Ok(Some(Key::Escape));
            }
            let mut bytes = [0; 64];
            match self.stdin.lock().read(&mut bytes) {
                Ok(0) => return Ok(Some(Key::Quit)),
                Ok(read) => self.keys.extend_from_slice(&bytes[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn wait(&self, patience: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
        let mut of = [PollFd::new(&self.stdin, PollFlags::IN)];
        match poll(&mut of, Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            // A signal, such as the one that says that the window has another size.
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = write(LEAVE);
        let _ = termios::tcsetattr(&self.stdin, OptionalActions::Now, &self.before);
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The first key of `bytes` and its length; `None` in it for what means nothing to us, `None` for too few bytes.
fn understood(bytes: &[u8]) -> Option<(Option<Key>, usize)> {
    Some(match bytes {
        [] | [0x1b] | [0x1b, b'[' | b'O'] => return None,
        [0x1b, b'[' | b'O', b'A', ..] => (Some(Key::Up), 3),
        [0x1b, b'[' | b'O', b'B', ..] => (Some(Key::Down), 3),
        [0x1b, b'[' | b'O', rest @ ..] => {
            // Parameters, then one letter or `~` (ECMA-48 §5.4).
            let end = rest.iter().position(|byte| (0x40..=0x7e).contains(byte))?;
            (None, end + 3)
        }
        [0x1b, ..] => (Some(Key::Escape), 1),
        [3 | 4, ..] => (Some(Key::Quit), 1),
        [b'\r' | b'\n', ..] => (Some(Key::Enter), 1),
        [8 | 127, ..] => (Some(Key::Backspace), 1),
        [byte @ 32..=126, ..] => (Some(Key::Char(char::from(*byte))), 1),
        _ => (None, 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_arrows_are_understood_in_any_pieces() {
        for (bytes, expected) in [
            (&b"q"[..], Some((Some(Key::Char('q')), 1))),
            (b"\x1b[A", Some((Some(Key::Up), 3))),
            (b"\x1bOB", Some((Some(Key::Down), 3))),
            (b"\x1b[15~x", Some((None, 5))),
            (b"\x1b[15", None),
            (b"\x1b", None),
            (b"\x1bq", Some((Some(Key::Escape), 1))),
            (b"\x03", Some((Some(Key::Quit), 1))),
            (b"\r", Some((Some(Key::Enter), 1))),
            (b"\x7f", Some((Some(Key::Backspace), 1))),
            (b"\xc3\xa4", Some((None, 1))),
            (b"", None),
        ] {
            assert_eq!(understood(bytes), expected, "{bytes:?}");
        }
    }
}
