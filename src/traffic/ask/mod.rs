//! Asking off the loop: how a filter has work done that no worker may do, such as asking a service or checking a password.
//!
//! A filter that cannot decide returns an [`Ask`]. The data plane puts its question on a [`Desk`], where somebody of the
//! control plane takes it, and the request waits. Each desk belongs to one policy and has its bounds: so many questions
//! wait at most, each for so long, and a breaker keeps them away while nothing but failures comes back. Whatever becomes
//! of a question, the filter gets an outcome and decides what that means for the request.
//!
//! ```text
//!   filter ──Ask──▶ data plane ──Question──▶ Desk ──Asked──▶ clerk (control plane)
//!     ▲                │  ▲                                     │
//!     ╰───Answered─────╯  ╰──────── Answer, and a wake-up ──────╯
//! ```
//!
//! A worker holds a desk's lock for as long as it takes to move a pointer, and only for requests that ask. Who asked may
//! leave (the client goes, time is up): then the question is not taken, or whoever works on it is told.

mod desk;
mod question;
mod slip;

pub use desk::{Desk, DeskCounts, DeskRules, Ticket};
pub use question::{Answer, Password, Question, Token};
pub use slip::{Asked, Pending};

use std::sync::Arc;

/// What a filter wants to know.
#[derive(Debug)]
pub struct Ask {
    pub desk: Arc<Desk>,
    pub question: Question,
    /// Place of the method that asks, under which it finds the answer.
    pub place: usize,
}

/// The same question of the same method; what is asked is not compared.
impl PartialEq for Ask {
    fn eq(&self, other: &Ask) -> bool {
        Arc::ptr_eq(&self.desk, &other.desk) && self.place == other.place
    }
}

impl Eq for Ask {}

/// What came of a question.
#[derive(Clone, Debug)]
pub enum Answered {
    Answer(Answer),
    /// Nobody knows, for this reason.
    Not(Unanswered),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// As many questions wait as may.
    Full,
    /// Nothing but failures came back lately.
    Open,
    /// It took too long.
    Timeout,
    /// Whoever was asked could not find out.
    Failed,
}

impl Unanswered {
    /// As logs and metrics call it.
    pub const fn name(self) -> &'static str {
        match self {
            Unanswered::Full => "full",
            Unanswered::Open => "open",
            Unanswered::Timeout => "timeout",
            Unanswered::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests;
