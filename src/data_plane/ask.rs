//! Performs what filters ask for: puts the question on its desk and waits for the answer, as long as the client is there.

use crate::downstream::{Client, ClientWatch};
use crate::exchange::Exchange;
use crate::serve::Fault;
use runtime::race;
use std::pin::pin;
use traffic::Cause;
use traffic::ask::{Answer, Answered, Ask, Unanswered};

/// Questions of one exchange, all filters together: whoever goes on asking goes round in circles.
const ASKS_MAX: usize = 16;

/// Leaves what came of the question with the caller of the exchange, for the filter that asked.
pub(crate) async fn perform(conn: &Client, x: &mut Exchange, ask: Ask) -> Result<(), Fault> {
    let Ask { desk, question, place } = ask;
    let rt = &conn.worker.rt;
    if x.caller.asked() >= ASKS_MAX {
        return Err(Cause::Internal.into());
    }
    let answered = match desk.ask(question, rt.now()) {
        Err(why) => Answered::Not(why),
        Ok((pending, ticket)) => {
            conn.upstream_timer.set((rt.now() + desk.rules.timeout).min(x.deadline));
            let wait = pin!(race(pending, &conn.upstream_timer));
            let outcome = conn.while_present(&mut ClientWatch::of(x), wait).await;
            let answered = match outcome {
                None => None,
                Some(Some(Answer::Failed)) => Some(Answered::Not(Unanswered::Failed)),
                Some(Some(answer)) => Some(Answered::Answer(answer)),
                Some(None) => Some(Answered::Not(Unanswered::Timeout)),
            };
            let settled = answered.as_ref().map(|answered| match answered {
                Answered::Answer(_) => Ok(()),
                Answered::Not(why) => Err(*why),
            });
            desk.settle(ticket, settled, rt.now());
            answered.ok_or(Cause::ClientGone)?
        }
    };
    if rt.now() >= x.deadline {
        return Err(Cause::TotalTimeout.into());
    }
    x.caller.answer(place, answered);
    Ok(())
}
