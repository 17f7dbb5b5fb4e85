//! Sockets that a service manager opened for us: who has which, by name (`bind "fd:NAME"`) or because it is at the address
//! that is to be bound.
//!
//! They stay open as long as the process runs, and the manager has them as well: connections that come while nobody
//! accepts wait for the next process.

use base::addr::Addr;
use runtime::Bound;
use std::env::{self, VarError};
use std::fmt;
use std::io;

/// All of them, in their order.
#[derive(Debug, Default)]
pub(crate) struct Passed(Vec<Socket>);

#[derive(Debug)]
struct Socket {
    name: String,
    bound: io::Result<Bound>,
    used: bool,
}

/// The environment says something that cannot be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadEnvironment(String);

impl fmt::Display for BadEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What sd_listen_fds_with_names(3) calls a socket without a name.
const NAMELESS: &str = "unknown";

impl Passed {
    /// Takes over what `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES` say; nothing when they are meant for another process.
    pub(crate) fn take() -> Result<Passed, BadEnvironment> {
        let names = names(std::process::id(), |name| env::var(name))?;
        let bounds = runtime::passed(names.len());
        let sockets = names.into_iter().zip(bounds).map(|(name, bound)| Socket { name, bound, used: false });
        Ok(Passed(sockets.collect()))
    }

    /// The socket for an address; `None` when it is to be bound by us.
    pub(crate) fn find(&mut self, addr: &Addr) -> Option<io::Result<Bound>> {
        let found = match addr {
            Addr::Passed(name) => self.named(name),
            _ => {
                let is_there =
                    |socket: &&mut Socket| matches!(&socket.bound, Ok(bound) if bound.addr() == addr);
                self.0.iter_mut().find(is_there).map(Ok)
            }
        };
        Some(found?.and_then(|socket| {
            socket.used = true;
            match &socket.bound {
                Ok(bound) => bound.try_clone(),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            }
        }))
    }

    fn named(&mut self, name: &str) -> Option<io::Result<&mut Socket>> {
        let names: Vec<&str> = self.0.iter().map(|socket| socket.name.as_str()).collect();
        let error = match names.iter().filter(|other| **other == name).count() {
            1 => return self.0.iter_mut().find(|socket| socket.name == name).map(Ok),
            0 if names.is_empty() => "no socket was passed to this process".to_owned(),
            0 => format!("no socket of that name was passed, only {}", names.join(", ")),
            several => format!("{several} sockets of that name were passed; each needs a name of its own"),
        };
        Some(Err(io::Error::other(error)))
    }

    /// Those that no listener has: name, and where it is or why it could not be used.
    pub(crate) fn unused(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.iter().filter(|socket| !socket.used).map(|socket| {
            let place = match &socket.bound {
                Ok(bound) => bound.addr().to_string(),
                Err(error) => error.to_string(),
            };
            (socket.name.as_str(), place)
        })
    }
}

/// The names of the sockets that the process `pid` was given.
fn names(
    pid: u32,
    variable: impl Fn(&str) -> Result<String, VarError>,
) -> Result<Vec<String>, BadEnvironment> {
    let number = |name: &str| match variable(name) {
        Err(VarError::NotPresent) => Ok(None),
        Ok(text) => match text.parse::<u32>() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(BadEnvironment(format!("{name} is {text:?}, not a number"))),
        },
        Err(VarError::NotUnicode(_)) => Err(BadEnvironment(format!("{name} is not a number"))),
    };
    let (Some(of), Some(count)) = (number("LISTEN_PID")?, number("LISTEN_FDS")?) else {
        return Ok(Vec::new());
    };
    if of != pid {
        return Ok(Vec::new());
    }
    if count > COUNT_MAX {
        return Err(BadEnvironment(format!("LISTEN_FDS is {count}, more than {COUNT_MAX}")));
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let given = variable("LISTEN_FDNAMES").unwrap_or_default();
    let mut names: Vec<String> = given.split(':').filter(|_| !given.is_empty()).map(str::to_owned).collect();
    if !given.is_empty() && names.len() != count {
        let what = format!("LISTEN_FDNAMES has {} names for {count} sockets", names.len());
        return Err(BadEnvironment(what));
    }
    names.resize(count, NAMELESS.to_owned());
    Ok(names)
}

/// Sockets that are taken over at most.
const COUNT_MAX: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Vec<String>, BadEnvironment> {
        names(7, |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned()).ok_or(VarError::NotPresent)
        })
    }

    #[test]
    fn names_are_those_of_the_environment_if_it_is_meant_for_us() {
        let two = [("LISTEN_PID", "7"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "web:admin")];
        assert_eq!(read(&two), Ok(vec!["web".to_owned(), "admin".to_owned()]));
        assert_eq!(read(&two[..2]), Ok(vec![NAMELESS.to_owned(); 2]));
        assert_eq!(read(&[]), Ok(Vec::new()));
        assert_eq!(read(&[("LISTEN_PID", "8"), ("LISTEN_FDS", "2")]), Ok(Vec::new()), "another process");
    }

    #[test]
    fn an_environment_that_contradicts_itself_is_refused() {
        for (variables, part) in [
            ([("LISTEN_PID", "x"), ("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "a")], "LISTEN_PID is \"x\""),
            ([("LISTEN_PID", "7"), ("LISTEN_FDS", "-1"), ("LISTEN_FDNAMES", "a")], "LISTEN_FDS is \"-1\""),
            ([("LISTEN_PID", "7"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "a")], "1 names for 2 sockets"),
            ([("LISTEN_PID", "7"), ("LISTEN_FDS", "9999"), ("LISTEN_FDNAMES", "a")], "more than 1024"),
        ] {
            let error = read(&variables).expect_err(part);
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
