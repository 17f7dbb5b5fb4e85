//! A listening socket of one worker.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use base::addr::Addr;

use crate::bind::Bound;
use crate::core::Core;
use crate::driver::Token;
use crate::socket::{Role, Socket};
use crate::stream::Stream;

/// Accepts connections for one worker. Dropping it stops; connections accepted meanwhile are closed and counted.
pub struct Listener {
    core: Rc<Core>,
    token: Token,
    addr: Addr,
}

impl Listener {
    pub(crate) fn new(core: Rc<Core>, socket: Bound) -> io::Result<Listener> {
        let addr = socket.addr().clone();
        let token = core.insert(Socket::new(-1, Role::Listener(Box::default())));
        let adopted = core.with(token, |entry, driver| {
            let fd = driver.adopt_listener(token, socket)?;
            entry.fd = fd;
            Ok(())
        });
        match adopted {
            Ok(()) => Ok(Listener { core, token, addr }),
            Err(error) => {
                core.sockets.borrow_mut().remove(token);
                Err(error)
            }
        }
    }

    /// The next connection.
    ///
    /// Errors are the kernel's: EMFILE and ENFILE among them, after which the caller pauses for a while. Connections
    /// that were given up by their peer before they were accepted are no error.
    pub async fn accept(&self) -> io::Result<Stream> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// As [`Listener::accept`]; the task of the last call is woken.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        self.core
            .poll_accept(self.token, cx)
            .map(|accepted| Stream::accepted(Rc::clone(&self.core), accepted?))
    }

    /// Stops accepting for good and hands out what has been accepted until then, one connection per call; None when
    /// there is no more. Dropping the listener instead would close those connections.
    pub async fn last(&self) -> Option<io::Result<Stream>> {
        let fd = poll_fn(|cx| self.core.poll_last_accepted(self.token, cx)).await?;
        Some(Stream::accepted(Rc::clone(&self.core), fd))
    }

    /// Leaves new connections in the kernel's queue; those accepted before are still handed out.
    pub fn pause(&self) {
        self.core.set_paused(self.token, true);
    }

    /// Accepts again after [`Listener::pause`].
    pub fn resume(&self) {
        self.core.set_paused(self.token, false);
    }

    /// The address it is bound to, with the port that the kernel chose.
    pub fn addr(&self) -> &Addr {
        &self.addr
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.core.close(self.token);
    }
}
